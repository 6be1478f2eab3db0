from __future__ import annotations

import re

import numpy as np
import pandas as pd

from fundus_synth.runtime.report import Report, new_figure


def page(tmp_path, report: Report) -> str:
    return report.write(tmp_path / "report.html").read_text("utf-8")


def test_nothing_is_read_as_html(tmp_path):
    evil = "<script>alert(1)</script>.png"
    report = Report(evil, evil).section(evil).text(evil).facts({evil: evil}).command(evil)
    report.table(pd.DataFrame({evil: [evil]}), evil).images([np.zeros((2, 2, 3), np.uint8)], [evil], caption=evil)
    text = page(tmp_path, report)
    assert "<script" not in text and text.count("&lt;script&gt;") >= 10


def test_table_values(tmp_path):
    text = page(tmp_path, Report("t").table(pd.DataFrame({"arm": ["gan"], "f1": [0.12345], "n": [3], "x": [np.nan]})))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", text) == ["gan", "0.123", "3", "-"]


def test_page_is_self_contained(tmp_path):
    figure, axis = new_figure()
    axis.plot([0, 1], [0, 1], label="F1 of <diabetes>")
    axis.legend()
    text = page(tmp_path, Report("t").figure(figure, "curve"))
    assert "<svg" in text and "&lt;diabetes&gt;" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert 'name="viewport"' in text
