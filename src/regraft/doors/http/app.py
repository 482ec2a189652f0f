"""The web application of one worker: routes, errors, limits, metrics. Predictions equal those of `Bundle.predict`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from regraft.doors.http import inference
from regraft.doors.http.batching import Input, Served
from regraft.doors.http.doorkeeper import Doorkeeper, refused
from regraft.doors.http.inputs import Gate, Reader, bytes_of_example
from regraft.doors.http.metrics import Meters
from regraft.doors.http.page import docs_page, example_of, request_body
from regraft.doors.http.settings import FAULT, Refusal, Settings, refusal_of
from regraft.errors import RegraftError, UnknownName, nearest
from regraft.records import to_json
from regraft.values import Prediction
from regraft.version import VERSION
from regraft.workbench.predict import opened


@dataclass(frozen=True)
class ModelName:
    """The model that produced a response."""

    name: str
    """Its name in URLs."""
    digest: str
    """Digest of its metadata, which contains the digests of its tensors."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for the inputs of a request, in their order."""

    model: ModelName
    """The model."""
    predictions: list[Prediction]
    """One per input; `error` gives the reason if an input cannot be read."""


@dataclass(frozen=True)
class Described:
    """Description of a model."""

    name: str
    """Its name in URLs."""
    digest: str
    """Digest of its metadata, which contains the digests of its tensors."""
    task: str
    """Task of the model."""
    classes: list[str]
    """Names of classes, labels or targets."""
    has_ood_score: bool
    """Whether predictions have an OOD score, which `abstain` requires."""
    card: dict[str, Any]
    """The network: family, weights and their licence, preparation of inputs."""
    facts: dict[str, Any]
    """How it was trained, and its metrics with intervals."""


@dataclass(frozen=True)
class Fault:
    """Reason for refusing a request."""

    message: str
    """What was found, and what was expected."""
    fix: str
    """What to do."""


@dataclass(frozen=True)
class Refused:
    """Response body of every refused request."""

    error: Fault
    """The error."""


@dataclass(frozen=True)
class RefusedInference:
    """Response body of every refused request of the inference protocol."""

    error: str
    """The error, and what to do."""


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": said}
    for status, said in {
        400: "The request is invalid.", 401: "The token is missing or wrong.",
        403: "Fetching from this URL is not allowed.", 404: "The model or address does not exist.",
        408: "The body arrived too slowly.", 413: "The body is too large.", 415: "The content type is not supported.",
        422: "No input could be read.", 503: "The queue is full; Retry-After says when to try again.",
    }.items()
}  # fmt: skip


class Worker:
    """The models of one worker, and its threads."""

    def __init__(self, settings: Settings) -> None:
        """Raises: BundleError: a model is damaged, or its predictions differ on this machine."""
        self.settings, self.gate, self.meters, self.draining = settings, Gate(settings), Meters(), False
        bundles = {
            name: opened(path, device=settings.device, threads=settings.threads) for name, path in settings.models
        }
        threads = max(1, settings.threads)
        self._pools = ThreadPoolExecutor(threads, "decode"), ThreadPoolExecutor(1, "predict")
        self.models = {
            name: Served(
                name, bundle, settings, decoding=self._pools[0], predicting=self._pools[1],
                seen=self.meters.batches(name),
            )
            for name, bundle in bundles.items()
        }  # fmt: skip
        self.meters.watch(self.models)

    def model(self, name: str) -> Served:
        """Raises: Refusal: there is no model of that name."""
        if name not in self.models:
            raise Refusal(404, str(UnknownName("model", name[:80], ()).message), fix=nearest(name, list(self.models)))
        return self.models[name]

    def reader(self, served: Served) -> Reader:
        """Return the reader that converts request bodies to inputs of this model."""
        return Reader(served.bundle.modality, served.example, self.settings)

    async def predict(
        self,
        served: Served,
        request: Request,
        read: Callable[[bytes | bytearray], Awaitable[tuple[list[Input], float | None]]],
    ) -> list[Prediction]:
        """Predict the inputs of a request; `read` gets them, and `abstain`, from its body.

        Raises:
            RegraftError: the request is refused, or none of its inputs can be read.
        """
        served.check_room()
        body = await self.gate.read(request)
        try:
            inputs, abstain = await read(body.data)
            said = await served.predict(inputs, abstain, body.release)
        finally:
            body.release()
        if all(one.error is not None for one in said):
            more = f" (input {said[0].id[:80]}, and {len(said) - 1} more)" if len(said) > 1 else ""
            raise Refusal(422, f"{said[0].error}{more}", fix="open it and save it again, or send another one.")
        return said

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Process the models' queues while the context is active."""
        work = [asyncio.create_task(served.run()) for served in self.models.values()]
        try:
            yield
        finally:
            self.draining = True
            for one in work:
                one.cancel()
            for pool in self._pools:
                pool.shutdown(wait=False, cancel_futures=True)


def web_app(worker: Worker) -> FastAPI:
    """Return the application with the routes of a worker."""
    app = FastAPI(
        title="Regraft", version=VERSION, docs_url=None, redoc_url=None, lifespan=worker.running,
        description="Predictions of models trained with Regraft. The examples work as shown.",
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    first = next(iter(worker.models.values()))

    @app.get("/health", summary="Whether the server lives")
    @app.get("/v2/health/live", summary="Whether the server lives")
    async def health() -> dict[str, bool]:
        return {"live": True}

    @app.get("/ready", summary="Whether the server accepts requests", responses=_of(503))
    @app.get("/v2/health/ready", summary="Whether the server accepts requests", responses=_of(503, protocol=2))
    async def ready() -> dict[str, bool]:
        if worker.draining:
            raise Refusal(503, "The server is shutting down.", fix="use another server, or try again later.")
        return {"ready": True}

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        data, kind = worker.meters.exposed()
        return Response(data, media_type=kind)

    @app.get("/v1/models", summary="The models, with card and metrics", response_model=dict[str, list[Described]])
    async def models() -> Response:
        return JSONResponse(to_json({"models": [described(one) for one in worker.models.values()]}))

    @app.get("/v1/models/{name}", summary="One model", response_model=Described, responses=_of(404))
    async def model(name: str) -> Response:
        return JSONResponse(to_json(described(worker.model(name))))

    @app.get("/v1/models/{name}/example", summary="A synthetic input for trying out the model",
             response_class=Response, responses=_of(404))  # fmt: skip
    async def example(name: str) -> Response:
        found = bytes_of_example(worker.model(name).example)
        if found is None:
            raise Refusal(404, "An example of this model is not a single file.", fix="see /docs for a JSON example.")
        return Response(found[0], media_type=found[1])

    @app.post("/v1/models/{name}/predict", summary="Predict inputs", response_model=Predictions,
              responses=_of(400, 403, 404, 408, 413, 415, 422, 503), openapi_extra=request_body(first))  # fmt: skip
    async def predict(
        request: Request, name: str,
        abstain: Annotated[float | None, Query(ge=0, le=1, description="Withhold the label of inputs with an OOD score "
                                               "above this share (0.99, say).")] = None,
    ) -> Response:  # fmt: skip
        served, kind = worker.model(name), request.headers.get("content-type", "").partition(";")[0].strip().lower()

        async def read(data: bytes | bytearray) -> tuple[list[Input], float | None]:
            return await worker.reader(served).inputs(kind, request.headers, data), abstain

        said = await worker.predict(served, request, read)
        return JSONResponse(to_json(Predictions(ModelName(served.name, served.digest), said)))

    _add_inference(app, worker)

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    async def docs(request: Request) -> str:
        return docs_page(app.openapi(), str(request.base_url).rstrip("/"), first)

    _add_errors(app)
    for operation in (one for methods in app.openapi()["paths"].values() for one in methods.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "name":
                parameter["schema"]["enum"] = list(worker.models)
    return app


def described(served: Served) -> Described:
    """Return the description of a model."""
    bundle = served.bundle
    facts = {name: bundle.facts[name] for name in ("made_with", "temperature")}
    card = {name: value for name, value in bundle.card.to_json().items() if name != "source_classes"}
    return Described(
        name=served.name, digest=served.digest, task=bundle.model.task.kind, classes=list(bundle.classes),
        has_ood_score=bundle.model.ood is not None, card=card, facts={**facts, **bundle.facts["facts"]},
    )  # fmt: skip


def _of(*statuses: int, protocol: int = 1) -> dict[int | str, dict[str, Any]]:
    body = {"model": Refused if protocol == 1 else RefusedInference}
    return {status: {**REFUSALS[status], **body} for status in statuses}


def _add_inference(app: FastAPI, worker: Worker) -> None:
    """Add the routes of the inference protocol."""

    @app.get("/v2", summary="Metadata of the server")
    async def server() -> dict[str, Any]:
        return inference.server_metadata()

    example = example_of(next(iter(worker.models.values())), protocol=2)
    schema = {"type": "object", "required": ["inputs"]}
    tensors = {"requestBody": {"content": {"application/json": {"schema": schema, "example": example}}}}

    def model_of(name: str, version: str) -> Served:
        served = worker.model(name)
        if version not in ("", served.digest):
            raise Refusal(
                404, f"{name} has no version {version[:80]!r}.", fix=f"request version {served.digest}, or none."
            )
        return served

    for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):

        @app.get(place, summary="Metadata of a model", responses=_of(404, protocol=2))
        async def metadata(name: str, version: str = "") -> dict[str, Any]:
            return inference.model_metadata(model_of(name, version))

        @app.get(f"{place}/ready", summary="Whether a model is ready", responses=_of(404, protocol=2))
        async def ready(name: str, version: str = "") -> dict[str, Any]:
            return {"name": model_of(name, version).name, "ready": not worker.draining}

        @app.post(f"{place}/infer", summary="Predict inputs",
                  responses=_of(400, 404, 408, 413, 415, 422, 503, protocol=2), openapi_extra=tensors)  # fmt: skip
        async def infer(request: Request, name: str, version: str = "") -> Response:
            served, length = model_of(name, version), request.headers.get(inference.HEADER_LENGTH)
            reader, asked, outputs = worker.reader(served), None, []

            async def inputs_of(data: bytes | bytearray) -> tuple[list[Input], float | None]:
                nonlocal asked, outputs
                asked = await asyncio.to_thread(inference.Asked, data, length, reader)
                outputs = inference.outputs_of(served, asked)
                return asked.inputs, asked.abstain

            said = await worker.predict(served, request, inputs_of)
            if unread := [one for one in said if one.error is not None]:
                raise Refusal(422, f"Input {unread[0].id}: {unread[0].error}", fix="send the request without it.")
            assert asked is not None, "what was predicted was read"
            body, headers = inference.reply(served, asked, outputs, said)
            return Response(body, headers=headers)


def _add_errors(app: FastAPI) -> None:
    """Add handlers that report all errors in one format, without paths and tracebacks."""

    @app.exception_handler(RegraftError)
    async def ours(request: Request, error: RegraftError) -> Response:
        return refused(refusal_of(error), request.url.path)

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        said = f"{found['loc'][-1]}: {found['msg'].lower()}."
        return refused(Refusal(400, said, fix="see /docs."), request.url.path)

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        there = "This address does not exist." if error.status_code == 404 else f"{error.detail}."
        response = refused(Refusal(error.status_code, there, fix="see /docs for the addresses."), request.url.path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return refused(FAULT, request.url.path)


def make_app(settings: Settings) -> ASGIApp:
    """Return the application of a worker, with its models loaded, verified and warmed up.

    Raises:
        RegraftError: a model cannot be loaded.
    """
    worker = Worker(settings)
    return Doorkeeper(web_app(worker), worker, settings.token.encode())
