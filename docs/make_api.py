"""Writes docs/api.md from the server's OpenAPI schema: `python docs/make_api.py`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flythinker.data.prompt import PromptConfig
from flythinker.serving.app import create_app
from flythinker.serving.settings import DEFAULT_DATABASE, ServerSettings

HEAD = """# The API

Written by `docs/make_api.py` from the OpenAPI schema, which a running server gives at
`/openapi.json`, and for a browser at `/docs`. How to use it: [serving.md](serving.md). Every answer
with a status of 400 or more has an [ErrorBody](#errorbody). Requests on `/v1` need
`Authorization: Bearer KEY`, unless the server has no keys.
"""


def schema() -> dict[str, Any]:
    """The OpenAPI schema of a server with default settings; it has no engine."""
    settings = ServerSettings("127.0.0.1", 8000, DEFAULT_DATABASE, True, 1, 1, 1, 1, 1, 1, "model")
    engine: Any = SimpleNamespace(
        tokenizer=[],
        prompt_config=PromptConfig(),
        context_length=0,
        has_fusion_weight=True,
        fusion_weight=0.5,
        has_effects=True,
    )
    return create_app(settings, SimpleNamespace(), engine).openapi()  # type: ignore[arg-type]


def render(schema: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD]
    for path, methods in schema["paths"].items():
        parts += [_operation(method, path, one) for method, one in methods.items()]
    parts.append("## Objects\n")
    parts += [_object(name, one) for name, one in sorted(schema["components"]["schemas"].items())]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method.upper()} {path}\n", _flowing(operation.get("description", "")), ""]
    rows = [
        (f"`{one['name']}` ({one['in']})", _type(one["schema"]), _rest(one["schema"]))
        for one in operation.get("parameters", ())
    ]
    lines += _table(("parameter", "type", ""), rows)
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        lines += [f"Body: {_type(body)}", ""]
    answers = operation["responses"]["200"]["content"]
    shown = (f"{_type(one['schema'])} as `{kind}`" for kind, one in answers.items() if one)
    events = ", or server-sent events" if "text/event-stream" in answers else ""
    return "\n".join([*lines, f"Answer: {', '.join(shown)}{events}", ""])


def _object(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (f"`{field}`{' *' if field in required else ''}", _type(one), _rest(one))
        for field, one in schema.get("properties", {}).items()
    ]
    described = [_flowing(schema["description"]), ""] if "description" in schema else []
    return "\n".join([f"### {name}\n", *described, *_table(("field", "type", ""), rows)])


def _type(schema: dict[str, Any]) -> str:
    """A type in words; objects link to where they are described."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{value!r}`".replace("'", '"') for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
    return schema.get("type", "anything")


def _rest(schema: dict[str, Any]) -> str:
    """Limits, default and description."""
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "minLength": "characters ≥ {}",
        "maxLength": "characters ≤ {}",
        "minItems": "items ≥ {}",
        "maxItems": "items ≤ {}",
    }
    inner = [schema, *schema.get("anyOf", ())]
    limits = [
        words[word].format(f"{one[word]:.4g}" if isinstance(one[word], float) else one[word])
        for one in inner
        for word in words
        if word in one
    ]
    default = schema.get("default")
    shown = [] if default in (None, "") else [f"default {str(default).lower()}"]
    described = [_flowing(schema["description"])] if "description" in schema else []
    return "; ".join([", ".join(limits + shown), *described] if limits + shown else described)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    cells = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(row) + " |" for row in cells] + [""]


def _flowing(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(render(schema()), encoding="utf-8")
