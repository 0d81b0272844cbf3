"""For mkdocs: pages show charts of benchmarks/results, which lie outside docs/, so the site gets copies of them."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for picture in sorted(RESULTS.rglob("*.png")):
        name = picture.relative_to(RESULTS).as_posix()
        files.append(File.generated(config, f"benchmarks/{name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return markdown.replace("../benchmarks/results/", "benchmarks/")
