from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest

from fundus_synth.runtime.gallery import Picture, View
from fundus_synth.runtime.report import Report


def _images(number: int) -> list[np.ndarray]:
    return [np.full((4, 4, 3), 40 * i, np.uint8) for i in range(number)]


def _page(tmp_path, report: Report) -> str:
    return report.write(tmp_path / "report.html").read_text("utf-8")


def test_a_gallery_runs_its_own_script_and_no_other(tmp_path):
    evil = "<script>alert(1)</script>"
    views = [View("photograph"), View(evil, _images(2)[1], evil, evil)]
    report = Report("t").gallery(views, [Picture(_images(2), evil, (f"{evil}.jpg", evil))], caption=evil)
    text = _page(tmp_path, report)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    allowed = re.search(r"script-src '(sha256-[^']+)'", text)[1]
    assert len(scripts) == 1 and "http" not in scripts[0]
    assert allowed == "sha256-" + base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert text.count("&lt;script&gt;") >= 6 and 'href="%3Cscript' in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#|%3C)", text)


def test_without_a_gallery_nothing_runs(tmp_path):
    text = _page(tmp_path, Report("t").section("s").text("x"))
    assert "<script" not in text and "script-src" not in text and "<dialog" not in text


def test_views_and_pictures(tmp_path):
    views = [View("photograph"), View("grad-cam", _images(2)[1], "0", "0.3 logit"), View("saliency")]
    text = _page(
        tmp_path, Report("t").gallery(views, [Picture(_images(3), "best: p = 0.9"), Picture(_images(3), "worst")])
    )
    assert text.count('class="picture" data-shown="1"') == 2 and text.count("image/jpeg;base64") == 6
    assert 'alt="best: p = 0.9 (saliency)"' in text and "0.3 logit" in text
    pressed = re.findall(r'data-view="(\d)" aria-pressed="(\w+)"', text)
    assert pressed == [("0", "false"), ("1", "true"), ("2", "false")]
    assert "min(250px, 47%)" in text  # two pictures beside each other on a phone, and a wide strip by itself
    assert "min(500px, 100%)" in _page(tmp_path, Report("t").gallery(views, [Picture(_images(3))], 2, width=500))
    with pytest.raises(ValueError, match="2 views, but a picture of 3 images"):
        Report("t").gallery(views[:2], [Picture(_images(3))])
