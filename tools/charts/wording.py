"""Insights in words. Every figure in a sentence was computed; nothing is phrased by a model."""

from __future__ import annotations

from collections.abc import Iterable

from tools.charts import wording_en, wording_zh
from tools.charts.model import Insight, Language

_HEADINGS = {"en": "Insights", "zh": "洞察"}
_NONE = {"en": "The table is too small to say anything of it.", "zh": "数据太少。"}


def sentence(insight: Insight, language: Language) -> str:
    return (wording_zh if language == "zh" else wording_en).sentence(insight)


def document(title: str, insights: Iterable[Insight], language: Language) -> str:
    """A Markdown page; each insight is named by its number."""
    lines = [f"{insight.id}. {sentence(insight, language)}" for insight in insights]
    body = "\n".join(lines) or _NONE[language]
    return f"# {title}\n\n## {_HEADINGS[language]}\n\n{body}\n"
