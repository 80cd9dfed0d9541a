"""docs/cookbook.md, section by section and in its order, as a reader would do it; and the example of docs/manifest.md."""

from pages import Page, blocks, sections
from sluice import ROOT, request

SECTIONS = sections("cookbook.md")


def test_the_recipes_work_as_written(gateway_factory, postgres):
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
    page = Page(gateway, {"http://127.0.0.1:7001": f"http://{gateway.admin}", "psql warehouse": f"psql '{postgres.uri}'"})
    for head, text in SECTIONS.items():
        count = page.follow(text)
        assert count > 0 or "```sh" not in text, head
    # The answers that the page does not show.
    assert gateway.rows("SELECT sku FROM prices ORDER BY 1") == [(sku,) for sku in "abcdef"]


def test_the_manifest_of_its_page_is_applied(gateway_factory):
    gateway = gateway_factory().start()
    page = Page(gateway)
    text = next(text for kind, text, _ in blocks((ROOT / "docs" / "manifest.md").read_text()) if kind == "yaml")
    (page.directory / "shop.yaml").write_text(text)
    page.shell("build/release/sluice check -f shop.yaml && build/release/sluice apply --dry-run -f shop.yaml && build/release/sluice apply -f shop.yaml")
    assert "0 changes" in page.shell("build/release/sluice apply -f shop.yaml")
    url = gateway.source_url("shop")
    assert request(gateway.intake, "POST", url, b'{"order":{"id":7},"customer":"Ann"}\n{"order":{"id":8}}').status == 200
    page.shell("build/release/sluice flush shop/orders")
    assert gateway.rows("SELECT order_id, customer FROM orders ORDER BY 1") == [(7, "Ann"), (8, None)]
