# SPDX-License-Identifier: Apache-2.0
"""The page of `report browse` in a browser: its script runs, and clicks, keys and controls do what they say."""

from __future__ import annotations

import html
import json
import re

import pytest
from headless import in_browser, needs_browser

from wss_monai.report.browse import write_browser

pytestmark = needs_browser

TOOLS = """
const log = [], wait = () => new Promise((done) => setTimeout(done, 60));
const stage = document.getElementById("stage");
const canvas = (title) => [...document.querySelectorAll("figure")].find(
  (figure) => figure.querySelector("figcaption").textContent === title).querySelector("canvas");
const pixels = ({ width, height }, context) => [...context.getImageData(0, 0, width, height).data];
const hash = (values) => values.reduce((all, value) => (all * 31 + value) % 1000003, 7);
const sum = (title) => hash(pixels(canvas(title), canvas(title).getContext("2d")));
const about = { bubbles: true, cancelable: true };
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, ...about }));
const text = (id) => document.getElementById(id).textContent;
async function note(name, deed) {
  if (deed) deed();
  await wait();
  log.push([name, { case: text("case"), where: text("where"), image: sum("image"), run: sum("partial") }]);
}
(async () => {
  await wait();
"""
END = """
  const shown = { id: "log", textContent: JSON.stringify({ log, errors }) };
  document.body.append(Object.assign(document.createElement("pre"), shown));
})();
"""


def with_script(page, script):
    """A copy of the page with a script after its own, which may use the page's elements."""
    errors = '<script>const errors = []; addEventListener("error", (event) => errors.push(event.message));</script>'
    text = page.read_text("utf-8").replace("<body>", f"<body>{errors}", 1)
    copy = page.with_name("scripted.html")
    copy.write_text(text.replace("</body>", f"<script>{TOOLS}{script}{END}</script></body>"), encoding="utf-8")
    return copy


def logged(dom):
    found = json.loads(html.unescape(re.search(r'<pre id="log">(.*?)</pre>', dom, re.S)[1]))
    assert found["errors"] == []
    return dict(found["log"])


def shown(dom):
    return [html.unescape(re.search(rf'id="{name}"[^>]*>([^<]*)<', dom)[1]) for name in ("case", "where")]


def cases_of(page):
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    return json.loads(found[1])["cases"]


def test_a_click_shows_the_next_case(make_run, tmp_path):
    page = write_browser([make_run()], tmp_path / "b.html")
    ids = [f"{case['id']} ({case['about']})" for case in cases_of(page)]
    assert shown(in_browser(page, tmp_path)) == [ids[0], "case 1 of 3, slice 3 of 5"]
    clicked = with_script(page, "stage.click();")
    assert shown(in_browser(clicked, tmp_path)) == [ids[1], "case 2 of 3, slice 3 of 5"]


def test_keys_clicks_and_controls(make_run, tmp_path):
    page = write_browser([make_run()], tmp_path / "b.html")
    script = """
  await note("start");
  await note("right click", () => stage.dispatchEvent(new MouseEvent("contextmenu", about)));
  await note("right arrow", () => press("ArrowRight"));
  await note("n", () => press("n"));
  await note("p", () => press("p"));
  await note("next button", () => document.getElementById("next").click());
  await note("left arrow", () => press("ArrowLeft"));
  await note("down", () => press("ArrowDown"));
  await note("up", () => press("ArrowUp"));
  await note("wheel", () => stage.dispatchEvent(new WheelEvent("wheel", { deltaY: 100, cancelable: true })));
  await note("wheel back", () => stage.dispatchEvent(new WheelEvent("wheel", { deltaY: -100, cancelable: true })));
  await note("beyond the first slice", () => { for (let i = 0; i < 9; i++) press("ArrowUp"); });
  await note("back to the middle", () => { press("ArrowDown"); press("ArrowDown"); });
  await note("no contours", () => press("c"));
  await note("image only", () => press("i"));
  await note("both back", () => { press("i"); press("c"); });
  await note("class hidden", () => press("1"));
  await note("class back", () => document.querySelector("#legend button").click());
  await note("more opaque", () => press("+"));
  await note("less opaque", () => press("-"));
  await note("zoom", () => press("z"));
  await note("no zoom", () => press("z"));
  await note("help", () => press("?"));
  await note("key while help is open", () => press("n"));
  log.push(["dialog", document.getElementById("keys").open]);
  press("?");
  const before = getComputedStyle(document.body).backgroundColor;
  press("b");
  log.push(["backgrounds", [before, getComputedStyle(document.body).backgroundColor]]);
"""
    seen = logged(in_browser(with_script(page, script), tmp_path))
    places = {name: (state["case"].split()[0], state["where"]) for name, state in seen.items() if type(state) is dict}
    ids = [case["id"] for case in cases_of(page)]
    one, two, three = ((case, f"case {i + 1} of 3, slice 3 of 5") for i, case in enumerate(ids))
    expected = {
        "start": one, "right click": three, "right arrow": one, "n": two, "p": one, "next button": two,
        "left arrow": one, "down": (ids[0], "case 1 of 3, slice 4 of 5"), "up": one,
        "wheel": (ids[0], "case 1 of 3, slice 4 of 5"), "wheel back": one,
        "beyond the first slice": (ids[0], "case 1 of 3, slice 1 of 5"), "back to the middle": one,
        "key while help is open": one,
    }  # fmt: skip
    assert {name: places[name] for name in expected} == expected
    assert seen["dialog"] is True
    assert seen["backgrounds"] == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]

    start = seen["start"]
    assert start["run"] != start["image"]
    assert seen["image only"]["run"] == start["image"]
    for name in ("no contours", "class hidden", "more opaque", "zoom"):
        assert seen[name]["run"] != start["run"], name
    for name in ("back to the middle", "both back", "class back", "less opaque", "no zoom"):
        assert seen[name]["run"] == start["run"], name
        assert seen[name]["image"] == start["image"], name
    assert seen["next button"]["image"] != seen["wheel"]["image"]


def test_colours_and_contours_are_those_of_the_classes(make_run, tmp_path):
    page = write_browser([make_run(cases=("p1_ED",), shift=0)], tmp_path / "b.html")
    script = """
  const at = (title, column, row) => {
    const one = canvas(title);
    const place = [(column + 0.5) / 20 * one.width, (row + 0.5) / 14 * one.height].map(Math.floor);
    return [...one.getContext("2d").getImageData(...place, 1, 1).data].slice(0, 3);
  };
  const left = (title, column, row) => {  // the pixel at the left edge of a voxel
    const one = canvas(title);
    const place = [Math.round(column / 20 * one.width), Math.floor((row + 0.5) / 14 * one.height)];
    return [...one.getContext("2d").getImageData(...place, 1, 1).data].slice(0, 3);
  };
  const places = { RV: [6, 5], LV: [12, 6], outside: [1, 1] };
  for (const name in places) log.push([name, [at("image", ...places[name]), at("partial", ...places[name])]]);
  log.push(["contour", left("partial", 10, 6)]);
  log.push(["drawn background", [at("image", 1, 1), at("weak label", 1, 1)]]);
  log.push(["proportions", canvas("image").clientWidth / canvas("image").clientHeight]);
  log.push(["label", canvas("partial").getAttribute("aria-label")]);
"""
    seen = logged(in_browser(with_script(page, script), tmp_path))
    assert seen["outside"][0] == seen["outside"][1]
    for name, colour in (("RV", (86, 180, 233)), ("LV", (230, 159, 0)), ("drawn background", (190, 190, 190))):
        grey, mixed = seen[name]
        assert mixed == pytest.approx([0.5 * g + 0.5 * c for g, c in zip(grey, colour, strict=True)], abs=2), name
    assert seen["contour"] == [230, 159, 0]
    assert seen["proportions"] == pytest.approx(20 * 1.5 / 14, rel=0.01)
    assert seen["label"] == "partial of p1_ED, slice 3: RV, LV"


def test_names_that_look_like_markup_are_shown_as_they_are(make_run, tmp_path):
    nasty = "</script><img src=x onerror=\"document.title='struck'\">&'"
    run = make_run(mode=nasty, names=["background", nasty, "LV"], cases=("p1_ED",))
    path = run / "evaluation" / "cases.json"
    path.write_text(json.dumps([{**entry, "case": nasty} for entry in json.loads(path.read_text())]))
    dom = in_browser(write_browser([run], tmp_path / "b.html"), tmp_path)
    assert shown(dom)[0] == nasty + " (ED)"
    assert "<img" not in dom.split("</main>")[0]
    assert "<title>Tiny: cases</title>" in dom


def test_an_empty_page_says_so(make_run, tmp_path):
    dom = in_browser(write_browser([make_run(cases=(), dense=False)], tmp_path / "b.html"), tmp_path)
    assert shown(dom)[0] == "No case to show"
    assert "Evaluate them on a data set with test patients" in dom.split("<script")[0]


def test_the_list_leads_to_cases_in_its_order_and_an_address_to_one(make_run, tmp_path):
    page = write_browser([make_run()], tmp_path / "b.html")
    script = """
  const items = () => [...document.querySelectorAll("#list li button")].map((item) => item.textContent);
  const order = document.getElementById("order"), choose = (by) => { order.value = by; order.onchange(); };
  choose("score"); log.push(["by score", [items(), text("case"), text("where")]]);
  press("ArrowRight"); log.push(["next", text("case")]);
  choose("name"); log.push(["by name", items()]);
  document.querySelectorAll("#list li button")[1].click(); log.push(["clicked", text("case")]);
  log.push(["current", document.querySelector("#list [aria-current=true]").textContent]);
  log.push(["table", [...document.querySelectorAll(".run .note tr")].map((row) => row.textContent)]);
  press("l"); log.push(["hidden", document.getElementById("list").hidden]);
  location.hash = "#case=p9"; await wait(); log.push(["unknown", text("where")]);
  location.hash = "#case=p1_ED"; await wait(); log.push(["address", text("case")]);
"""
    seen = logged(in_browser(with_script(page, script), tmp_path))
    scores = {case["id"]: case["score"] for case in cases_of(page)}
    worst = sorted(scores, key=scores.get)
    assert worst == ["p2_ED", "p1_ES", "p1_ED"]
    assert seen["by score"][0] == [f"{case}{scores[case]:.3f}" for case in worst]
    assert seen["by score"][1] == "p2_ED (ED)" and seen["next"] == "p1_ES (ES)"
    assert [item[:5] for item in seen["by name"]] == ["p1_ED", "p1_ES", "p2_ED"]
    assert seen["clicked"] == "p1_ES (ES)" and seen["current"].startswith("p1_ES")
    assert seen["table"][0] == "DiceHD95 mmml / ref." and seen["table"][2].startswith("RV0.")
    assert seen["hidden"] is True
    assert "p9 is not among the cases of this page" in seen["unknown"]
    assert seen["address"] == "p1_ED (ED)"
