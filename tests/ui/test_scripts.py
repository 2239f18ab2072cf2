"""Tests the page's own scripts and style sheets: that they pass a linter, and that all of them arrive."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from app import STYLE_SHEETS
from tests.ui.scripts import SCRIPTS, write_module
from ui.components import ASSETS

RULES = Path(__file__).with_name("oxlint.json")


def lint(file: Path) -> tuple[int, str]:
    """Returns the exit status of the linter, and its words."""
    oxlint = Path(sysconfig.get_path("scripts")) / "oxlint"
    run = subprocess.run(
        [oxlint, "--config", RULES, "--deny-warnings", "--format", "unix", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("component", SCRIPTS)
def test_a_script_passes_the_linter(component: str, tmp_path: Path) -> None:
    status, words = lint(write_module(component, tmp_path))
    assert status == 0, words


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("const unused = 1;", "no-unused-vars"),
        ("placeLables();", "no-undef"),
        ("const find = 1; { const find = 2; props.value = find; } props.value = find;", "no-shadow"),
        ("props.value === 1;", "no-unused-expressions"),
        ("if (props.value = 1) trigger('input');", "no-cond-assign"),
    ],
)
def test_the_linter_notices_what_is_wrong(code: str, rule: str, tmp_path: Path) -> None:
    file = write_module("summary", tmp_path)
    text = file.read_text()
    file.write_text(text.replace('"use strict";', f'"use strict";\n{code}'))
    status, words = lint(file)
    assert status != 0 and rule in words


LEAVES = """(texts) => {
    const leaves = (rules, within) => [...rules].flatMap((rule) => {
        if (rule instanceof CSSStyleRule) return [[within, rule.selectorText, rule.style.cssText]];
        const frame = rule.media ? `@media ${rule.media.mediaText}` : rule.name ? `@keyframes ${rule.name}`
            : rule.cssText.split("{")[0].trim();
        if (rule instanceof CSSKeyframeRule) return [[within, rule.keyText, rule.style.cssText]];
        return rule.cssRules ? leaves(rule.cssRules, `${within}${frame} `) : [[within, frame, rule.cssText]];
    });
    const ours = texts.map((text) => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(text);
        return leaves(sheet.cssRules, "");
    });
    const arrived = [...document.styleSheets].filter((sheet) => !sheet.href)
        .flatMap((sheet) => leaves(sheet.cssRules, ""));
    return [ours, arrived];
}"""
"""Returns the rules of style sheets, and the rules of the page, as [what they stand in, selector, style]."""


def test_every_rule_of_our_style_sheets_reaches_the_page(page: Page) -> None:
    texts = [(ASSETS / name).read_text(encoding="utf-8") for name in STYLE_SHEETS]
    assert {path.name for path in ASSETS.glob("*.css")} == set(STYLE_SHEETS)
    parsed: Any = page.evaluate(LEAVES, texts)
    ours, arrived = parsed
    there = {(within, unprefixed(selector), style) for within, selector, style in arrived}
    for name, text, rules in zip(STYLE_SHEETS, texts, ours, strict=True):
        groups = len(re.findall(r"@(?:media|keyframes|supports|container)\b", text))
        braces = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).count("{")
        assert len(rules) == braces - groups > 0, f"the browser cannot read all of {name}"
        missing = [rule for rule in rules if (rule[0], unprefixed(rule[1]), rule[2]) not in there]
        assert missing == [], f"{name}: {len(missing)} of {len(rules)} rules do not arrive"


def unprefixed(selector: str) -> str:
    """Returns a selector without what Gradio puts before each of its parts."""
    return re.sub(r"\.gradio-container\.gradio-container-[\d-]+ \.contain ", "", selector)
