"""A Sphinx extension: MathJax from jupyter-server-mathjax goes into the built book, so that no page needs a network."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

UNUSED = shutil.ignore_patterns("a11y", "localization", "SVG")
FRONT = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><a href="{page}">{title}</a></body>
</html>
"""


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    with as_file(files("jupyter_server_mathjax") / "static") as mathjax:
        shutil.copytree(mathjax, Path(app.outdir, "_static", "mathjax"), ignore=UNUSED, dirs_exist_ok=True)
    front = FRONT.format(title=app.config.html_title, page=f"{app.config.master_doc}.html")
    Path(app.outdir, "index.html").write_text(front, encoding="utf-8")


def setup(app):
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
