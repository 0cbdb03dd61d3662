"""Every Python block of the README and of docs/ runs, in order, one namespace a page; every link leads somewhere."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def page_id(page):
    return str(page.relative_to(ROOT))


def python_blocks(page):
    """(line number, source) of each ```python block."""
    text = page.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start(1)].count("\n") + 1, match.group(1)


@pytest.mark.parametrize("page", [page for page in PAGES if any(python_blocks(page))], ids=page_id)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "page"}
    for line, source in python_blocks(page):
        # lines before the block keep line numbers in a traceback those of the page
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_exist(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).is_file(), f"{page.name} links to {target}"


def test_the_table_of_ops_is_what_the_ops_say():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert generate["page"]() == (ROOT / "docs" / "ops.md").read_text(), "run: python docs/generate.py"


def test_the_pictures_are_what_the_page_draws():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    drawn = generate["pictures"]()
    assert len(drawn) == 2
    for file, text in drawn.items():
        assert f"images/{file.name}" in (ROOT / "docs" / "graph.md").read_text()
        assert file.read_text() == text, "run: python docs/generate.py"


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {page_id(page) for page in PAGES if page.parent.name == "docs"}
