"""docs/cookbook.md, section by section and in its order, as a reader would do it."""

from pages import Page, sections

SECTIONS = sections("cookbook.md")


def test_the_recipes_work_as_written(gateway_factory):
    gateway = gateway_factory().start()
    page = Page(gateway, {"http://127.0.0.1:7001": f"http://{gateway.admin}"})
    for head, text in SECTIONS.items():
        count = page.follow(text)
        assert count > 0 or "```sh" not in text, head
    # The answers that the page does not show.
    assert gateway.rows("SELECT sku FROM prices ORDER BY 1") == [(sku,) for sku in "abcdef"]
