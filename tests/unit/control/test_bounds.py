"""How deep a body may be nested: judged without reading it as JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.control.api.bounds import MAX_NESTING, _is_too_deep


def depth_of(value: object) -> int:
    """Count levels as a reader of JSON sees them."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a,:\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(value=VALUES, levels=st.integers(0, 40), repeats=st.integers(1, 40))
def test_depth_is_judged_as_a_reader_of_json_would(
    value: object, levels: int, repeats: int
) -> None:
    """Whatever brackets, quotes and backslashes stand in strings."""
    nested: object = [value] * repeats
    for level in range(levels):
        nested = {"k": nested} if level % 2 else [nested]
    for text in (json.dumps(nested), json.dumps(nested, ensure_ascii=False, indent=1)):
        assert _is_too_deep(text.encode()) == (depth_of(nested) > MAX_NESTING)


@pytest.mark.parametrize(
    ("body", "is_too_deep"),
    [
        (b"[" * 60_000, True),
        (b'{"a":' * 5_000, True),
        (b"]" * 60_000, False),
        (b"[]" * 60_000, False),
        (b"[" * 32 + b"]" * 32 + b"[]", False),
        (b"[" * 33 + b"]" * 33, True),
        (b'"' + b"[" * 60_000 + b'"', False),
        (b'"' + b"[" * 60_000, False),
        (b'"\\\\"' + b"[" * 33 + b"]" * 33, True),
        (b'"\\"' + b"[" * 33 + b"]" * 33 + b'"', False),
    ],
)
def test_what_is_no_json_is_deep_only_if_it_is(body: bytes, is_too_deep: bool) -> None:  # noqa: FBT001
    """Unbalanced text is left to the reader, who says where it breaks."""
    assert _is_too_deep(body) == is_too_deep
