/* Every spot on the page knows the target token (data-i) or the source token (data-j) it stands
   for; a cell of the map knows both. What is drawn and what is pointed at follow from that. */
function buildMap(parent, names, truth) {
  const table = element("table", parent, "", { role: "grid", "aria-label": "attention weights" });
  table.classList.toggle("dense", names.source.length > 34);
  table.classList.toggle("upright", names.source.every(name => [...name].length === 1));
  const heading = element("tr", element("thead", table));
  element("td", heading, "", { class: "corner" });
  names.source.forEach((name, j) => {
    const cell = element("th", heading, "", { scope: "col", "data-j": j });
    element("bdi", cell, name);
  });
  const body = element("tbody", table);
  return names.target.map((name, i) => {
    const line = element("tr", body);
    element("bdi", element("th", line, "", { scope: "row", "data-i": i }), name);
    return names.source.map((_, j) => {
      const cell = element("td", line, "", { "data-i": i, "data-j": j });
      element("span", cell);
      if (truth.has(`${i},${j}`)) cell.style.boxShadow = outline(truth, i, j);
      return cell;
    });
  });
}

/* The sides on which a true cell has no true neighbour. */
function outline(truth, i, j) {
  return [[-1, 0, "0 2px"], [1, 0, "0 -2px"], [0, -1, "2px 0"], [0, 1, "-2px 0"]]
    .filter(([down, right]) => !truth.has(`${i + down},${j + right}`))
    .map(([, , offset]) => `inset ${offset} var(--truth)`).join(", ");
}

function describe(i, j, names, weights, truth) {
  if (i !== undefined && j !== undefined) {
    const known = truth.has(`${i},${j}`) ? " · true alignment" : "";
    return `${quote(names.target[i])} reads ${quote(names.source[j])}: ${weights[i][j].toFixed(3)}${known}`;
  }
  const reads = i !== undefined;
  const found = reads ? weights[i] : weights.map(row => row[j]);
  const others = found.map((weight, k) => [weight, (reads ? names.source : names.target)[k]])
    .filter(([weight]) => weight >= 0.01).sort((a, b) => b[0] - a[0]).slice(0, 8)
    .map(([weight, name]) => `${quote(name)} ${weight.toFixed(3)}`);
  const subject = reads ? `${quote(names.target[i])} reads ` : `${quote(names.source[j])} is read by `;
  return subject + (others.join(", ") || "nothing");
}

function paint(cells, weights) {
  cells.forEach((row, i) => row.forEach((cell, j) => {
    cell.firstChild.textContent = short(weights[i][j]);
    shade(cell, weights[i][j]);
  }));
}

function enliven(section) {
  const { weights: mean, heads, truth: pairs } =
    JSON.parse(section.querySelector("script").textContent);
  let weights = mean;
  const truth = new Set((pairs ?? []).map(String));
  const source = [...section.querySelectorAll(".source > li")];
  const target = [...section.querySelectorAll(".target > li")];
  const names = { source: source.map(spot => spot.textContent),
                  target: target.map(spot => spot.textContent) };
  source.forEach((spot, j) => spot.dataset.j = j);
  target.forEach((spot, i) => spot.dataset.i = i);
  const map = section.querySelector(".map");
  const cells = source.length && target.length ? buildMap(map, names, truth) : [];
  paint(cells, weights);
  const headings = [...map.querySelectorAll("th")];

  function show(i, j) {
    const hit = (row, column) => (i !== undefined || j !== undefined)
      && (i === undefined || i === row) && (j === undefined || j === column);
    const mark = (spot, lit, weight, known) => {
      shade(spot, lit ? weight : 0);
      spot.classList.toggle("true", lit && known);
      if (lit) spot.dataset.weight = short(weight); else delete spot.dataset.weight;
    };
    source.forEach((spot, column) => mark(spot, i !== undefined && hit(i, column),
      weights[i]?.[column], truth.has(`${i},${column}`)));
    target.forEach((spot, row) => mark(spot, j !== undefined && hit(row, j),
      weights[row][j], truth.has(`${row},${j}`)));
    for (const spot of [...source, ...target, ...headings])
      spot.classList.toggle("pointed", spot.dataset.i === String(i) || spot.dataset.j === String(j));
    cells.forEach((row, r) => row.forEach((cell, c) => cell.classList.toggle("lit", hit(r, c))));
    const nothing = i === undefined && j === undefined;
    section.querySelector(".readout").textContent =
      nothing ? "" : describe(i, j, names, weights, truth);
  }

  section.addEventListener("change", event => {  // of the head, each a radio button
    weights = event.target.value === "mean" ? mean : heads[event.target.value];
    paint(cells, weights);
  });
  const number = text => text === undefined ? undefined : Number(text);
  const point = event => {
    const spot = event.target.closest("[data-i], [data-j]");
    if (spot) show(number(spot.dataset.i), number(spot.dataset.j));
  };
  const leave = () => show();
  section.addEventListener("mouseover", point);
  section.addEventListener("focusin", point);
  section.addEventListener("mouseleave", leave);
  section.addEventListener("focusout", leave);
  const rightToLeft = spots => spots.length > 0 && getComputedStyle(spots[0]).direction === "rtl";
  rove([source], rightToLeft(source));
  rove([target], rightToLeft(target));
  rove(cells, false);
}
