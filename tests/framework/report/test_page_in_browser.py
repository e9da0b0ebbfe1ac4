"""The page in a browser: it draws, sorts, shows pictures, and asks for nothing."""


def names(window, table="#overview"):
    return [
        cell.strip()
        for cell in window.page.locator(f"{table} tbody th .who > span:last-child").all_inner_texts()
    ]


def test_every_plot_is_drawn_and_nothing_is_asked_of_a_network(window):
    kinds = {plot.get_attribute("data-plot") for plot in window.page.query_selector_all("[data-drawn]")}
    assert kinds == {"means", "differences", "curves", "groups", "scatter"}
    for plot in window.page.query_selector_all("[data-drawn]"):
        assert plot.query_selector("svg .scatterlayer .trace"), plot.get_attribute("data-plot")


def test_an_arm_is_hidden_everywhere_and_shown_again(window):
    traces = "document.querySelectorAll('[data-plot=\"groups\"] .scatterlayer .trace').length"
    assert window.page.evaluate(traces) == 4
    chip = window.page.locator(".legend .arm").nth(1)
    chip.focus()
    window.page.keyboard.press("Enter")
    assert chip.get_attribute("aria-pressed") == "false"
    window.page.wait_for_function(f"() => {traces} === 3")
    assert window.page.locator("figure[data-arm='1']:visible").count() == 0
    assert window.page.locator("figure[data-arm='2']:visible").count() > 0
    window.page.locator("#all-arms").click()
    window.page.wait_for_function(f"() => {traces} === 4")
    assert chip.get_attribute("aria-pressed") == "true"


def test_tabs_move_by_arrow_keys_and_draw_their_plots(window):
    tabs = window.page.locator("[role=tablist][aria-label=Metric] [role=tab]")
    tabs.first.focus()
    for key, selected in (("ArrowRight", 1), ("End", 2), ("ArrowRight", 0), ("ArrowLeft", 2), ("Home", 0)):
        window.page.keyboard.press(key)
        assert [tab.get_attribute("aria-selected") for tab in tabs.all()] == [
            "true" if i == selected else "false" for i in range(3)
        ]
        panels = window.page.locator("[role=tabpanel][id^=metric-]")
        assert [panel.is_visible() for panel in panels.all()] == [i == selected for i in range(3)]
    tabs.nth(2).click()
    window.page.wait_for_function("() => document.querySelector('#metric-2 [data-drawn] svg') !== null")


def test_columns_sort_both_ways_and_keep_every_row(window):
    before = names(window)
    head = window.page.locator("#overview th[data-sortable]").nth(1)
    column = (
        "[...document.querySelectorAll('#overview tbody tr')].map(row => Number(row.cells[1].dataset.value))"
    )
    for direction in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        values = window.page.evaluate(column)
        assert values == sorted(values, reverse=direction == "descending")
    assert sorted(names(window)) == sorted(before)
    assert names(window) != before


def test_the_slider_goes_through_the_images_by_mouse_and_keys(window):
    captions = window.page.locator("[data-gallery] output")
    visible = window.page.locator(".frame:visible")
    assert captions.inner_text() == "image 1 of 8: 000000"
    window.page.locator("[data-gallery] [data-step='1']").click()
    assert captions.inner_text() == "image 2 of 8: 000001"
    slider = window.page.locator("[data-gallery] input[type=range]")
    slider.fill("5")
    assert captions.inner_text() == "image 6 of 8: 000005"
    slider.press("ArrowRight")
    assert captions.inner_text() == "image 7 of 8: 000006"
    gallery = window.page.locator("[data-gallery]")
    gallery.focus()
    for expected in ("image 8 of 8: 000007", "image 1 of 8: 000000"):
        window.page.keyboard.press("ArrowRight")
        assert captions.inner_text() == expected
    window.page.keyboard.press("ArrowLeft")
    assert captions.inner_text() == "image 8 of 8: 000007"
    assert visible.count() == 1
    loaded = "[...document.querySelectorAll('.frame:not([hidden]) figure img')].filter(i => i.offsetParent).every(i => i.naturalWidth > 0)"
    assert window.page.evaluate(loaded)


def test_the_same_image_stands_beside_what_every_arm_made_of_it(window):
    window.page.locator("[data-gallery] input[type=range]").fill("0")
    strip = window.page.locator(".frame:visible .strip")
    assert strip.locator("figure").count() == 5
    alts = [image.get_attribute("alt") for image in strip.locator("figure").nth(1).locator("img").all()]
    arm = window.page.locator(".legend .arm").first.get_attribute("title")
    assert alts == [f"reconstruction by {arm}, 000000", f"predicted masks by {arm}, 000000"]


def test_dark_follows_the_system_and_the_button(window):
    shades = """() => [
        getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("[data-plot=groups] .xtick text")).fill,
    ]"""
    button, seen = window.page.locator("#theme"), {}
    for scheme in ("light", "dark"):
        window.page.emulate_media(color_scheme=scheme)
        pressed = str(scheme == "dark").lower()
        window.page.wait_for_function(f"() => document.querySelector('#theme').ariaPressed === '{pressed}'")
        seen[scheme] = window.page.evaluate(shades)
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))
    button.click()
    assert window.page.evaluate(shades) == seen["light"]
    button.click()
    assert window.page.evaluate(shades) == seen["dark"]


def test_a_narrow_page_does_not_scroll_sideways(window):
    wide = window.page.viewport_size
    window.page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    for width in (768, 390, 320):
        window.page.set_viewport_size({"width": width, "height": 800})
        window.page.wait_for_function(f"() => document.documentElement.scrollWidth <= {width}", timeout=5000)
    window.page.set_viewport_size(wide)


def test_tables_can_be_read_without_scripts(page, chromium):
    context = chromium.new_context(java_script_enabled=False)
    window = context.new_page()
    window.goto(page.as_uri())
    assert window.locator("[role=tabpanel][id^=metric-]:visible table").count() == 3
    assert window.locator(".frame:visible").count() == 8
    assert window.locator(".needs-js:visible").count() == 0
    assert "Plots need JavaScript" in window.locator(".plot").first.evaluate(
        "e => getComputedStyle(e, '::before').content"
    )
    context.close()


def test_all_controls_are_reached_by_the_tab_key(window):
    window.page.locator(".skip").focus()
    state = "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
    found = {"A"}  # the link over the bar
    for _ in range(90):
        window.page.keyboard.press("Tab")
        tag, outline = window.page.evaluate(state)
        if tag == "BODY":
            break
        found.add(tag)
        assert outline != "none", tag
    assert {"BUTTON", "INPUT", "SELECT", "SUMMARY", "A", "DIV"} <= found


def test_print_draws_every_metric_as_wide_as_paper_and_no_controls(window):
    window.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    window.page.emulate_media(media="print")
    assert window.page.locator("[role=tabpanel][id^=metric-]:visible").count() == 3
    assert window.page.locator(".controls:visible, .tabs:visible, .bar:visible").count() == 0
    plots = window.page.locator("[data-plot]")
    for plot in plots.all():
        kind = plot.get_attribute("data-plot")
        assert plot.locator("svg .scatterlayer .trace").count() > 0, kind
        wide = plot.evaluate("p => [p.querySelector('svg').getBoundingClientRect().width, p.clientWidth]")
        assert wide[0] <= wide[1] + 1, kind
    assert plots.count() == 2 * 3 + 3
    background = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    window.page.emulate_media(media="screen")
    window.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert window.page.locator("[role=tabpanel][id^=metric-]:visible").count() == 1


def test_effect_sizes_are_in_sight_on_a_desktop(window):
    window.page.set_viewport_size({"width": 1400, "height": 900})
    hidden = "tables => tables.map(t => t.parentElement.scrollWidth - t.parentElement.clientWidth)"
    assert window.page.locator("[role=tabpanel][id^=metric-]:visible table").evaluate_all(hidden) == [0]
    window.page.set_viewport_size({"width": 1200, "height": 900})


def test_curves_are_smoothed_and_drawn_along_epochs(window):
    plot = window.page.locator("[data-plot=curves]")
    state = """plot => [plot.layout.xaxis.title.text, plot.data.at(-1).x.at(-1), plot.data.at(-1).y.join()]"""
    axis, last, raw = plot.evaluate(state)
    assert axis == "training step"
    window.page.locator("[data-smooth=curves]").check()
    assert plot.evaluate(state)[:2] == [axis, last]
    assert plot.evaluate(state)[2] != raw
    window.page.locator("[data-along=curves]").select_option("epoch")
    assert plot.evaluate(state)[0] == "epoch"
    assert plot.evaluate(state)[1] < last / 50
    window.page.locator("[data-along=curves]").select_option("step")
    window.page.locator("[data-smooth=curves]").uncheck()
    assert plot.evaluate(state) == [axis, last, raw]


def test_an_arm_has_one_color_in_legend_tables_pictures_and_plots(window):
    colors = """selector => Object.fromEntries([...document.querySelectorAll(selector)].map(mark =>
        [mark.parentElement.textContent.replace("baseline", "").trim(), getComputedStyle(mark).backgroundColor]))"""
    legend = window.page.evaluate(colors, ".legend .arm .swatch")
    assert len(set(legend.values())) == 4
    for place in ("#overview tbody .swatch", "#cost tbody .swatch", ".frame:not([hidden]) .strip .swatch"):
        assert window.page.evaluate(colors, place) == legend, place
    points = window.page.locator("[data-plot=scatter] .scatterlayer path.point")
    assert {point.evaluate("mark => getComputedStyle(mark).fill") for point in points.all()} == set(
        legend.values()
    )
