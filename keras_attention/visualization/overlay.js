const OPAQUE = 0.75;  // over the place that is read most

/* Paints weights, each a share of the largest, over the picture, as smooth as the browser can. */
function glow(canvas, shares, rows, columns, colour) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  const pixels = small.getContext("2d").createImageData(columns, rows);
  shares.forEach((share, k) => pixels.data.set([...colour, 255 * OPAQUE * share], 4 * k));
  small.getContext("2d").putImageData(pixels, 0, 0);
  [canvas.width, canvas.height] = [16 * columns, 16 * rows];  // this clears it
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function enliven(section) {
  const { grid: [rows, columns], largest, shares } =
    JSON.parse(section.querySelector("script").textContent);
  const tokens = [...section.querySelectorAll("li")];
  const picture = section.querySelector(".picture");
  const [canvas, place] = [picture.querySelector("canvas"), picture.querySelector(".place")];
  const readout = section.querySelector(".readout");
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--glow")
    .match(/[0-9a-f]{2}/gi).map(pair => parseInt(pair, 16));
  const names = tokens.map(spot => quote(spot.textContent));
  const weight = (token, k) => shares[token][k] * largest[token];
  const digits = found => found.toFixed(3).replace(/^0\./, ".");

  function show(token, k) {
    picture.classList.toggle("read", token !== undefined);
    glow(canvas, token === undefined ? [] : shares[token], rows, columns, colour);
    place.hidden = k === undefined;
    const most = k === undefined ? 0 : Math.max(...tokens.map((_, t) => weight(t, k)));
    tokens.forEach((spot, t) => {
      shade(spot, most > 0 ? weight(t, k) / most : 0);
      spot.classList.toggle("pointed", t === token);
      if (k === undefined) delete spot.dataset.weight; else spot.dataset.weight = digits(weight(t, k));
    });
    readout.textContent = token !== undefined
      ? `${names[token]} reads no place more than ${digits(largest[token])}`
      : k !== undefined ? `this place is read by ${readers(k)}` : "";
  }

  function readers(k) {
    const found = names.map((name, t) => [weight(t, k), name]).filter(([read]) => read >= 0.001)
      .sort((a, b) => b[0] - a[0]).slice(0, 6).map(([read, name]) => `${name} ${digits(read)}`);
    return found.join(", ") || "nothing";
  }

  let [row, column] = [0, 0];
  function showPlace(down, right) {
    row = Math.max(0, Math.min(rows - 1, down));
    column = Math.max(0, Math.min(columns - 1, right));
    Object.assign(place.style, {
      left: `${100 * column / columns}%`, top: `${100 * row / rows}%`,
      width: `${100 / columns}%`, height: `${100 / rows}%`,
    });
    show(undefined, row * columns + column);
  }

  const leave = () => show();
  tokens.forEach((spot, t) => {
    spot.addEventListener("mouseover", () => show(t));
    spot.addEventListener("focus", () => show(t));
    spot.addEventListener("blur", leave);
    spot.addEventListener("mouseleave", leave);
  });
  picture.addEventListener("mousemove", event => {
    const box = picture.getBoundingClientRect();
    showPlace(Math.floor((event.clientY - box.top) / box.height * rows),
              Math.floor((event.clientX - box.left) / box.width * columns));
  });
  picture.addEventListener("mouseleave", leave);
  picture.addEventListener("focus", () => showPlace(row, column));
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", event => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    showPlace(row + steps[event.key][0], column + steps[event.key][1]);
  });
  rove([tokens], tokens.length > 0 && getComputedStyle(tokens[0]).direction === "rtl");
}
