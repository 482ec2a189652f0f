"""The documentation page, generated from the OpenAPI description; it loads no other resources. Its example commands can
be run unchanged."""

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from regraft.doors.http.batching import Served

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;"
    "padding:0 1rem}"
    "pre{overflow:auto;padding:.7rem;border:1px solid #8886;border-radius:.3rem}h2{font-size:1.05rem;margin-top:2rem}"
)


def example_of(served: Served, protocol: int = 1) -> dict[str, Any]:
    """Return a request body with the smallest golden input of the model."""
    parts = {name: _as_json(content.value) for name, content in served.example.items() if hasattr(content, "value")}
    first = next(iter(parts.values()), "")
    if protocol == 2:
        if isinstance(first, list):
            return {"inputs": []}
        data = [first if isinstance(first, str) else first["base64"]]
        return {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": data}]}
    return {"inputs": [first if len(parts) == 1 else {"contents": parts}]}


def _as_json(value: Any) -> Any:
    if isinstance(value, str | bytes):
        return value if isinstance(value, str) else {"base64": base64.b64encode(value).decode()}
    return value.values.tolist()  # a row of numbers


def request_body(served: Served) -> dict[str, Any]:
    """Return the OpenAPI description of the request body."""
    blob = {"type": "object", "required": ["base64"], "properties": {"base64": {"type": "string"}}}
    link = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    parts = {"type": "object", "required": ["contents"], "properties": {"contents": {"type": "object"}}}
    row = {"type": "array", "items": {"type": ["number", "null"]}}
    several = {"type": "array", "minItems": 1, "items": {"anyOf": [blob, link, parts, {"type": "string"}, row]}}
    files = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "required": ["file"], "properties": {"file": files}}
                },
                "application/json": {
                    "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": several}},
                    "example": example_of(served),
                },
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    }


def _commands(path: str, method: str, base: str, served: Served) -> list[str]:
    """Return example commands for a route."""
    url = base + path.replace("{name}", served.name).replace("{version}", served.digest)
    if path.endswith("/example"):
        return [f"curl -s -o example {url}"]
    if method == "get":
        return [f"curl -s {url}"]
    post = f"curl -s -H 'Content-Type: application/json' --data-binary @- {url}"
    encoded = "\"$(base64 example | tr -d '\\n')\" | "
    if path.endswith("/predict"):
        raw = f"curl -s -H 'Content-Type: application/octet-stream' --data-binary @example {url}"
        body = """printf '{"inputs": [{"base64": "%s"}]}' """
        return [f"curl -s -F file=@example {url}", raw, body + encoded + post]
    body = """printf '{"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": ["%s"]}]}' """
    return [body + encoded + post]


def docs_page(openapi: Mapping[str, Any], base: str, served: Served) -> str:
    """Return the page as HTML. `base` is the URL of the server."""
    parts = []
    for path, methods in openapi["paths"].items():
        for method, said in methods.items():
            if "versions" in path:
                continue
            commands = "\n".join(_commands(path, method, base, served))
            statuses = ", ".join(f"{status}: {escape(one['description'])}" for status, one in said["responses"].items())
            parts.append(
                f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(said['summary'])}.</p>"
                f"<pre><code>{escape(commands)}</code></pre><p><small>{statuses}</small></p></section>"
            )
    about = escape(openapi["info"]["description"])
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Regraft</title><style>{_STYLE}</style><body><h1>Regraft</h1><p>{about} In JSON, an input is "
        "<code>{&quot;base64&quot;: &quot;…&quot;}</code>, a string for text models, or "
        "<code>{&quot;url&quot;: &quot;…&quot;}</code> if the server is allowed to fetch it. Full API description: "
        "<a href=openapi.json>openapi.json</a>. If a token is required, add "
        f"<code>-H 'Authorization: Bearer TOKEN'</code>.</p>{''.join(parts)}</body></html>"
    )
