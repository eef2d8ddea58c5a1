"""The page in a real browser: what is drawn is what was served."""

import base64
import shutil
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export.dev_server import page as page_module
from export.dev_server.http_server import RestServer
from export.dev_server.metrics import Metrics
from export.dev_server.model_config import discover
from export.dev_server.models import Models
from export.dev_server.rest import RestService
from keras_attention.visualization import Alignment, Overlay, alignment_page, overlay_page, save
from tests.export import asked_models as asked

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver, as in Debian's packages"
)
PICTURE = tf.io.encode_png(np.full((5, 7, 3), 200, np.uint8)).numpy()


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts servers of the models, and returns their addresses."""
    folder = tmp_path_factory.mktemp("models")
    asked.write_all(folder)
    servers = []
    with closing(Models(lambda: discover(folder))) as models:

        def start(**options):
            servers.append(RestServer(("127.0.0.1", 0), RestService(models, Metrics()), **options))
            servers[-1].start()
            return f"http://127.0.0.1:{servers[-1].server_address[1]}"

        yield start
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def address(serve):
    return serve(models=sorted(asked.MODELS))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1100,1600",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


class Page:
    """What a person does with the page, and what they see on it."""

    def __init__(self, driver):
        self.driver = driver

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        """The one element, as soon as it is there."""
        (found,) = WebDriverWait(self.driver, 60).until(lambda _: self.all(selector))
        return found

    def texts(self, selector):
        return [found.get_property("textContent") for found in self.all(selector)]

    def look_up(self, model, server=None):
        for name, value in (("model", model), ("server", server)):
            if value is not None:
                field = self.one(f"#where [name={name}]")
                field.clear()
                field.send_keys(value)
        self.one("#where button").click()
        self.settle()

    def ask(self, *texts):
        for field, text in zip(self.all(".ask input, .ask textarea"), texts, strict=True):
            field.clear()
            field.send_keys(text)
        self.one(".ask button").click()
        self.settle()

    def settle(self):
        """Waits for the answer under way."""
        WebDriverWait(self.driver, 60).until(lambda _: not self.all("[aria-busy]"))

    def point(self, element):
        webdriver.ActionChains(self.driver).move_to_element(element).perform()

    def readout(self):
        return self.one(".readout").text.replace("\u2068", "").replace("\u2069", "")


@pytest.fixture
def page(driver, address):
    driver.get("about:blank")
    driver.get_log("browser")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.get(address)
    page = Page(driver)
    page.settle()
    yield page
    # Nothing was refused by the policy, and no script failed; a refused request is told as well.
    told = [entry for entry in driver.get_log("browser") if entry["source"] != "network"]
    assert told == []


def test_the_models_served_here_are_a_click_away(page, address):
    assert page.texts("#served button") == sorted(asked.MODELS)
    assert page.one("h2").text == "answering, version 1"  # the first, unasked
    page.all("#served button")[2].click()
    page.settle()
    assert page.one("h2").text == "numbers, version 1"
    assert page.one("#where [name=server]").get_property("value") == address
    assert page.one("#where [name=model]").get_property("value") == "numbers"


def test_translations_and_their_alignments(page):
    page.look_up("translation")
    page.ask("le chat noir")
    assert page.texts(".rows bdi") == ["the black cat", "a cat"]
    assert page.texts(".rows data") == ["-0.250", "-Infinity"]
    assert page.texts("thead bdi") == asked.SOURCE  # one of them looks like HTML
    assert page.all("#model b") == []
    assert page.texts("tbody bdi") == asked.LONG
    assert drawn_weights(page, 4) == pytest.approx(asked.ALIGNMENT[0], abs=1e-6)
    assert page.texts("td span")[:4] == [".91", ".09", "0", "0"]
    page.all(".rows label")[1].click()
    assert page.texts("tbody bdi") == asked.SHORT
    assert drawn_weights(page, 4) == pytest.approx(asked.ALIGNMENT[1, :2], abs=1e-6)


def drawn_weights(page, columns):
    script = "return [...document.querySelectorAll('td[data-i]')]"
    script += ".map(cell => Number(cell.style.getPropertyValue('--weight')))"
    return np.reshape(page.driver.execute_script(script), (-1, columns))


def test_pointing_at_an_alignment_tells_its_weights(page):
    page.look_up("translation")
    page.ask("le chat noir")
    page.point(page.all("td[data-i]")[6])
    assert page.readout() == "“black” reads “<b>noir</b>”: 0.830"
    page.point(page.all("tbody th")[2])
    assert page.readout() == (
        "“cat” reads “chat” 0.710, “<b>noir</b>” 0.130, “le” 0.110, “</s>” 0.050"
    )
    page.point(page.all("thead th")[0])
    assert page.readout() == "“le” is read by “the” 0.910, “cat” 0.110"
    page.point(page.one("h1"))
    assert page.readout() == ""


def test_the_keyboard_walks_an_alignment(page):
    page.look_up("translation")
    page.one(".ask input").send_keys("le chat noir", Keys.ENTER)
    page.settle()
    assert len(page.all("td[tabindex='0']")) == 1
    page.one("td[tabindex='0']").send_keys(Keys.ARROW_DOWN)
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.readout() == "“black” reads “chat”: 0.170"
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_UP, Keys.ARROW_UP)
    assert page.readout() == "“the” reads “chat”: 0.090"
    assert len(page.all("td[tabindex='0']")) == 1


def drop(page, content):
    """Lets go of a file over the field for pictures."""
    page.driver.execute_script(
        """const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
        document.querySelector(".drop").dispatchEvent(
          new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));""",
        base64.b64encode(content).decode(),
    )
    page.settle()


def test_captions_and_where_each_word_looked(page):
    page.look_up("captioning")
    drop(page, PICTURE)
    assert page.texts(".rows bdi") == ["5 pixels high"]  # so the bytes arrived whole
    assert page.texts("figcaption bdi") == ["night", "sky"]
    assert page.texts("figcaption data") == ["at most 0.500", "at most 1.000"]
    widths = page.driver.execute_script(
        "return [...document.querySelectorAll('.picture img')].map(each => each.naturalWidth)"
    )
    assert widths == [7, 7, 7]
    alphas = drawn_alphas(page, [0, 1], [0, 1, 2])
    glow = asked.LOOKS[0] / asked.LOOKS[0].max(axis=(1, 2), keepdims=True) * 255 * 0.75
    assert np.array(alphas) == pytest.approx(glow, abs=24)  # they are smoothed


def drawn_alphas(page, rows, columns):
    """How opaque the middle of each of 2 x 3 places is, in every canvas."""
    return page.driver.execute_script(
        """const [rows, columns] = arguments;
        return [...document.querySelectorAll("canvas")].map(({ width, height }, k) => {
          const copy = new OffscreenCanvas(width, height);
          const context = copy.getContext("2d", { willReadFrequently: true });
          context.drawImage(document.querySelectorAll("canvas")[k], 0, 0);
          return rows.map(row => columns.map(column => context.getImageData(
            (column + 0.5) * width / 3, (row + 0.5) * height / 2, 1, 1).data[3]));
        });""",
        rows,
        columns,
    )


def test_pointing_at_a_place_tells_what_each_word_read_there(page, tmp_path):
    page.look_up("captioning")
    (tmp_path / "a.png").write_bytes(PICTURE)
    page.one(".ask input").send_keys(str(tmp_path / "a.png"))  # chosen, it is sent
    page.settle()
    webdriver.ActionChains(page.driver).move_to_element_with_offset(
        page.all("canvas")[1], 0, 5 - page.all("canvas")[1].size["height"] // 2
    ).perform()
    assert page.readout() == "row 1, column 2 is read by “night” 0.250"
    page.one(".pictures").send_keys(Keys.ARROW_DOWN)
    assert page.texts("figcaption data") == ["0.000", "0.000"]
    page.one(".pictures").send_keys(Keys.ARROW_UP)
    page.one(".pictures").send_keys(Keys.ARROW_LEFT)
    assert page.texts("figcaption data") == ["0.500", "0.000"]
    (place, _) = page.all(".place")
    assert place.size["width"] == pytest.approx(page.all("canvas")[0].size["width"] / 3, abs=1)


def test_bytes_that_are_no_picture_are_told_in_the_words_of_the_server(page):
    page.look_up("captioning")
    drop(page, b"no picture")
    assert page.one(".error").text.startswith("400: ")
    assert "PNG" in page.one(".error").text
    assert page.all(".rows") == []


def test_answers_and_the_sentences_of_each_hop(page):
    page.look_up("answering")
    page.ask("Mary took the milk. Mary went home.", "Where is the zebra?")
    assert page.texts(".rows bdi") == ["home", "garden"]
    assert page.texts(".rows data") == ["0.875", "0.125"]
    assert "Never seen in training: Where is the zebra?" in page.texts(".answer p")
    assert page.texts("thead bdi") == ["hop 1", "hop 2"]
    assert page.texts("tbody bdi") == [*asked.SENTENCES[:2], "(no sentence)"]
    assert page.texts("td span") == [".73", ".08", ".27", ".90", "0", ".02"]
    assert drawn_weights(page, 2) == pytest.approx(asked.HOPS.T, abs=1e-6)
    page.point(page.all("thead th")[1])
    assert page.readout() == (
        "“hop 2” reads “Mary went home” 0.900, “Mary took the milk” 0.080, “(no sentence)” 0.020"
    )


def test_a_passage_is_shaded_by_its_weights(page):
    page.look_up("reading")
    page.ask("@Omar slept", "@placeholder slept")
    assert page.texts(".rows bdi") == ["@Omar", "(nothing)"]
    assert page.texts(".tokens li") == ["@Omar.75", "slept.25"]


def test_glimpses_of_each_object(page):
    page.look_up("recognition")
    drop(page, PICTURE)
    assert page.texts(".rows bdi") == ["3", "7"]
    assert page.texts(".rows data") == ["0.750", "0.625"]

    def places():
        return [
            (spot.text, spot.value_of_css_property("top"), spot.value_of_css_property("left"))
            for spot in page.all(".glimpse")
        ]

    width, height = (page.one(".single img").size[side] for side in ("width", "height"))
    first, second = places()
    assert first == ("1", "0px", "0px")
    assert second[0] == "2"
    assert float(second[1][:-2]) == pytest.approx(0.75 * height, abs=2)
    assert float(second[2][:-2]) == pytest.approx(0.5 * width, abs=2)
    page.all(".rows label")[1].click()
    assert float(places()[1][2][:-2]) == pytest.approx(width, abs=2)


def test_any_other_signature_has_a_field_for_each_input(page):
    page.look_up("numbers")
    assert page.texts(".ask label > span") == ["int64 (?)", "float (?, 2)"]
    fields = page.all(".ask textarea")
    assert [field.get_property("value") for field in fields] == ["[0]", "[[0.0, 0.0]]"]
    page.ask("[9007199254740993]", "[[1.0, -1], [0, NaN]]")
    assert page.one("pre").text.split("\n") == [
        "{",
        '"outputs": {',
        '"next": [9007199254740994],',
        '"ratio": [[Infinity, -Infinity], [NaN, NaN]]}}',
    ]


def test_a_signature_can_be_chosen(page):
    page.look_up("reading")
    choice = Select(page.one("#model select"))
    assert [option.text for option in choice.options] == ["serving_default", "plain"]
    choice.select_by_visible_text("plain")
    page.ask("[1]", "[[1.0, 1.0]]")
    assert '"next": [2]' in page.one("pre").text


def test_mistakes_are_told_where_they_are_made(page):
    page.look_up("numbers")
    page.ask("[1.5]", "[[1.0, 1.0]]")
    assert page.one(".error").text == (
        "400: JSON Value: 1.5 Type: Number is not of expected type: int64"
    )
    page.ask("[1", "[[1.0, 1.0]]")
    assert page.one(".error").text.startswith("count: this is not JSON.")
    page.ask("[1]", "[[1.0, 1.0]]")
    assert page.all(".error") == []
    page.look_up("a/b")
    assert page.one(".error").text == "404: Servable not found for request: Latest(a/b)"
    page.one("#where [name=version]").send_keys("7")
    page.look_up("numbers")
    assert page.one(".error").text == "404: Servable not found for request: Specific(numbers, 7)"


def test_outputs_of_another_shape_are_shown_as_they_are(page):
    page.look_up("translation")
    page.driver.execute_script(
        """window.fetch = async () => new Response(
          '{"outputs": {"translations": [["a"]], "scores": [null]}}')"""
    )
    page.ask("le chat noir")
    assert "not shaped as their names promise" in page.one(".error").text
    page.all("summary")[-1].click()
    assert '"scores": [null]}}' in page.one("pre").text


def test_what_is_no_server_of_models_is_told(page, address):
    page.driver.execute_script("window.fetch = async () => new Response('{}')")
    page.look_up("m")
    assert page.one(".error").text == (
        f"Expected the metadata of a model from {address}/v1/models/m. Received: {{}}"
    )
    page.driver.execute_script("window.fetch = async () => new Response('<p>', {status: 502})")
    page.look_up("m")
    assert page.one(".error").text == (
        f"502: expected JSON from {address}/v1/models/m/metadata. Received: <p>"
    )


def test_the_last_question_counts(page):
    page.look_up("numbers")
    page.driver.execute_script(
        """const replies = [];
        window.fetch = () => new Promise(resolve => replies.push(resolve));
        const form = document.querySelector(".ask");
        form.requestSubmit();
        form.requestSubmit();
        setTimeout(() => {
          replies[1](new Response('{"outputs": "second"}'));
          setTimeout(() => replies[0](new Response('{"outputs": "first"}')), 50);
        }, 50);"""
    )
    assert '"second"' in page.one("pre").text
    time.sleep(0.2)
    assert '"second"' in page.one("pre").text


def test_the_page_of_a_file_asks_a_server_that_allows_it(page, serve):
    page.driver.get(Path(page_module.__file__).with_name("page.html").as_uri())
    assert page.all("#served button") == []
    page.look_up("translation", serve(cors=True))
    page.ask("le chat noir")
    assert page.texts(".rows bdi") == ["the black cat", "a cat"]
    closed = serve(cors=False)
    page.look_up("translation", closed)
    assert page.one(".error").text == (
        f"No answer from {closed}/v1/models/translation/metadata. Is a server there? If this page "
        "did not come from it, it must have been started with --rest_api_enable_cors_support."
    )
    page.driver.get_log("browser")  # the browser tells of it as well


@pytest.mark.parametrize(
    ("scheme", "paper", "text"), [("light", 255, 28), ("dark", 20, 230)], ids=["light", "dark"]
)
def test_the_page_follows_the_colours_of_the_system(page, scheme, paper, text):
    emulate = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulate)
    body = page.one("body")
    assert f"({paper}, " in body.value_of_css_property("background-color")
    assert f"({text}, " in body.value_of_css_property("color")


@pytest.fixture
def figure(driver, tmp_path):
    """Opens a page of `keras_attention.visualization`."""

    def open_page(content):
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get(save(tmp_path / "figure.html", content).as_uri())
        return Page(driver)

    yield open_page
    assert driver.get_log("browser") == []


def test_the_figure_of_an_alignment_is_alive(figure):
    weights = asked.ALIGNMENT[0]
    page = figure(alignment_page([Alignment(asked.SOURCE, asked.LONG, weights, weights > 0.5)]))
    assert page.texts("tbody bdi") == asked.LONG
    assert drawn_weights(page, 4) == pytest.approx(weights, abs=1e-3)
    page.point(page.all("td[data-i]")[6])
    assert page.readout() == "“black” reads “<b>noir</b>”: 0.830 · true alignment"
    page.point(page.all(".target > li")[2])
    shown = [spot.get_dom_attribute("data-weight") for spot in page.all(".source > li")]
    assert shown == [".11", ".71", ".13", ".05"]
    page.one(".source > li[tabindex='0']").send_keys(Keys.ARROW_RIGHT)
    assert page.readout() == "“chat” is read by “cat” 0.710, “black” 0.170, “the” 0.090"


def test_the_figure_of_a_picture_is_alive(figure):
    picture = np.full((40, 60, 3), 200, np.uint8)
    page = figure(overlay_page([Overlay(picture, ["night", "sky"], asked.LOOKS[0])]))
    page.point(page.all(".words > li")[0])
    assert page.readout() == "“night” reads no place more than .500"
    assert page.all(".picture.read")
    assert drawn_alphas(page, [0], [0]) == [[[pytest.approx(0.75 * 255, abs=24)]]]
    page.point(page.one(".picture"))
    page.one(".picture").send_keys(Keys.ARROW_UP)
    assert page.readout() == "this place is read by “night” .250"
