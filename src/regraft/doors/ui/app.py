"""Routes of the web interface. Requests that change something must have a form token."""

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from regraft.doors._errors import translated
from regraft.doors.http.inputs import Gate
from regraft.doors.http.settings import STATUS, Refusal
from regraft.doors.ui import pages, uploads
from regraft.doors.ui.commands import asked
from regraft.doors.ui.guard import Guard, form_of, form_token
from regraft.doors.ui.jobs import Queue
from regraft.doors.ui.live import live
from regraft.doors.ui.models import SETTINGS, Models
from regraft.doors.ui.place import KINDS, Place, stem
from regraft.errors import RegraftError
from regraft.records import to_json
from regraft.reports.page import inside
from regraft.workbench.backbones import backbones
from regraft.workbench.compare import compare
from regraft.workbench.mistakes import mistakes
from regraft.workbench.strategies import strategies

EVERY_S = 0.5
"""Interval between checks of the queue, in seconds."""
A_PAGE = 12
"""Number of mistakes per page."""
SHOWN = (".html", ".svg", ".md", ".json", ".csv", ".toml")
"""Extensions of result files that can be opened."""


class Pages:
    """The pages for one folder."""

    def __init__(self, root: Path) -> None:
        self.place, self.queue, self.models = Place(root), Queue(root), Models()
        self.key, self.gate = self.place.key(), Gate(SETTINGS)

    def show(self, template: str, status: int = 200, /, **given: Any) -> HTMLResponse:
        """Render a page."""
        return HTMLResponse(pages.render(template, token=form_token(self.key), **given), status)

    def jobs(self) -> list[tuple[Any, str]]:
        """Return the jobs with their states."""
        return [(one, self.queue.state(one)) for one in self.queue.jobs()]

    async def home(self, request: Request) -> Response:
        """Home page: all data, jobs and results."""
        runs = [(name, *pages.headline(self.place.root / "runs" / name)) for name in self.place.names("runs")]
        made = {kind: self.place.names(kind) for kind in KINDS}
        return self.show("home.html", data=self.place.data(), runs=runs, jobs=self.jobs(), made=made,
                         root=self.place.root)  # fmt: skip

    async def data(self, request: Request) -> Response:
        """Page of a data set: its properties, and the available actions."""
        name = request.path_params["name"]
        self.place.child("data", name)
        about = [(job, state) for job, state in self.jobs() if f"data/{name}" in job.args]
        audit = self.place.root / "audits" / stem(name)
        ways = [(way, preset.title) for one in strategies() for way, preset in one.presets.items()]
        specs = [weights.spec for one in backbones() for weights in one.weights if weights.here]
        nets = [spec for spec in specs if "PATH" not in spec]
        found = await asyncio.to_thread(pages.result, audit) if (audit / "report.json").is_file() else None
        return self.show("data.html", name=name, jobs=about, audit=found, ways=ways, nets=nets)

    async def choose(self, request: Request) -> Response:
        """Register data elsewhere on this machine."""
        form = dict(await form_of(request, self.key))
        path = form.pop("path", "")
        return _to(f"/data/{self.place.choose(path, form)}")

    async def begin_upload(self, request: Request) -> Response:
        """Start an upload."""
        await form_of(request, self.key)
        return JSONResponse({"name": uploads.begin(self.place, request.query_params.get("name", ""))})

    async def upload(self, request: Request) -> Response:
        """Receive one file of an upload."""
        await form_of(request, self.key)
        await uploads.receive(self.place, request.path_params["name"], request.path_params["inside"], request.stream())
        return Response(status_code=204)

    async def end_upload(self, request: Request) -> Response:
        """Finish an upload."""
        await form_of(request, self.key)
        return JSONResponse({"at": f"/data/{uploads.finish(self.place, request.path_params['name'])}"})

    async def ask(self, request: Request) -> Response:
        """Add a job to the queue."""
        form, files = await form_of(request, self.key), list[str]()
        if form.get("verb") == "explain":
            looks = await asyncio.to_thread(self.models.looks, self.place.child("runs", form.get("run", "")))
            wanted = form.get("examples", "").splitlines()
            files = [str(path) for one in wanted if (path := looks.file(one)) is not None]
        job = asked(self.queue, self.place, form, files)
        return _to(f"/jobs/{job.id}")

    async def job(self, request: Request) -> Response:
        """Page of a job: its state and the available actions; or its fragment, which the page polls."""
        job = self.queue.job(request.path_params["id"])
        state = self.queue.state(job)
        ahead = sum(one.lane == job.lane and other in ("waiting", "running") and one.id < job.id
                    for one, other in self.jobs()) if state == "waiting" else 0  # fmt: skip
        seen = await asyncio.to_thread(live, self.queue.events(job))
        log = self.queue.log(job)
        served = next((word for word in log.split() if word.startswith("http://")), "") if job.lane == "serve" else ""
        name = "live.html" if request.url.path.endswith("/live") else "job.html"
        ready = bool(job.out) and (self.place.root / job.out).exists()
        return self.show(name, job=job, state=state, live=seen, log=log, ahead=ahead, served=served, ready=ready)

    async def act(self, request: Request) -> Response:
        """Stop, resume or delete a job."""
        await form_of(request, self.key)
        job, what = self.queue.job(request.path_params["id"]), request.path_params["what"]
        act = {"stop": self.queue.stop, "again": self.queue.again, "forget": self.queue.forget}.get(what)
        if act is None:
            raise Refusal(404, "This address does not exist.", fix="go back to the first page.")
        await asyncio.to_thread(act, job)
        gone = not (self.queue.folder / job.id).is_dir()
        return _to("/" if gone else f"/jobs/{job.id}")

    async def result(self, request: Request) -> Response:
        """Page of a command's result."""
        kind, name = request.path_params["kind"], request.path_params["name"]
        if kind not in KINDS:
            raise HTTPException(404)
        folder = self.place.child(kind, name)
        if kind == "explained":
            maps = json.loads((folder / "explained.json").read_text(encoding="utf-8"))
            return self.show("explained.html", name=name, maps=maps)
        if kind == "exports":
            return self.show("export.html", name=name, files=sorted(one.name for one in folder.iterdir()))
        if kind == "runs" and not (folder / "report.json").is_file():
            seen = await asyncio.to_thread(live, folder / "events.jsonl")
            return self.show("unfinished.html", name=name, live=seen, state="unfinished")
        found = await asyncio.to_thread(pages.result, folder)
        others = [one for one in self.place.names("runs") if one != name] if kind == "runs" else []
        return self.show("result.html", kind=kind, name=name, found=found, plots=inside(found.plots), others=others,
                         data=self.place.data(), takes=pages.modality(folder) if kind == "runs" else None)  # fmt: skip

    async def try_(self, request: Request) -> Response:
        """Predict dropped files with a model."""
        await form_of(request, self.key)
        run = self.place.child("runs", request.path_params["name"])
        bundle = await asyncio.to_thread(self.models.bundle, run)
        body = await self.gate.read(request)
        try:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            inputs = await self.models.reader(bundle).inputs(kind, request.headers, body.data)
            said = await asyncio.to_thread(self.models.predict, bundle, inputs)
        finally:
            body.release()
        return self.show("predictions.html", said=said)

    async def mistakes(self, request: Request) -> Response:
        """Mistakes of a run, in pages."""
        name = request.path_params["name"]
        run = self.place.child("runs", name)
        every = await asyncio.to_thread(mistakes, run)
        start = request.query_params.get("from", "0")
        at = min(int(start) if start.isdecimal() and len(start) < 9 else 0, max(0, len(every) - 1))
        some = every[at : at + A_PAGE]
        try:
            looks = await asyncio.to_thread(self.models.looks, run)
        except RegraftError:
            looks = None
        files = {one.id: str(looks.file(one.id) or "") for one in some} if looks else {}
        texts = await asyncio.to_thread(lambda: {one.id: looks.preview(one.id) for one in some}) if looks else {}
        maps = self._maps()
        views = [(one, maps.get(files.get(one.id, ""), ""), files.get(one.id), texts.get(one.id)) for one in some]
        return self.show("mistakes.html", name=name, views=views, at=at, every=len(every), step=A_PAGE,
                         reached=looks is not None)  # fmt: skip

    def _maps(self) -> dict[str, str]:
        """Return URLs of the existing heat maps, by the file of the example."""
        found = dict[str, str]()
        for name in self.place.names("explained"):
            path = self.place.root / "explained" / name / "explained.json"
            if path.is_file():
                for at, one in enumerate(json.loads(path.read_text(encoding="utf-8"))):
                    found.setdefault(one["prediction"]["id"], f"/files/explained/{name}/input-{at}.svg")
        return found

    async def example(self, request: Request) -> Response:
        """Preview of an example."""
        run = self.place.child("runs", request.path_params["name"])
        looks = await asyncio.to_thread(self.models.looks, run)
        shown = await asyncio.to_thread(looks.preview, request.query_params.get("id", ""))
        if isinstance(shown, str):
            return Response(shown, media_type="text/plain; charset=utf-8")
        return Response(shown, media_type="image/png")

    async def compare(self, request: Request) -> Response:
        """Compare two runs side by side."""
        a, b = (self.place.child("runs", request.query_params.get(one, "")) for one in "ab")
        found = await asyncio.to_thread(compare, a, b)
        both = [await asyncio.to_thread(pages.result, one) for one in (a, b)]
        return self.show("compare.html", found=to_json(found), both=both, plots=[inside(one.plots) for one in both])

    async def file(self, request: Request) -> Response:
        """Return a file of a result, unchanged."""
        kind, inside = request.path_params["kind"], request.path_params["inside"]
        path = self.place.root / kind / uploads.checked(inside)
        if kind not in KINDS or path.suffix not in SHOWN or not path.is_file():
            raise HTTPException(404)
        policy = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
        return FileResponse(path, headers=policy)

    async def packed(self, request: Request) -> Response:
        """Return an export as a single file."""
        folder, name = self.place.child("exports", request.path_params["name"]), request.path_params["name"]

        def pack() -> bytes:
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        archive.write(path, Path(name) / path.relative_to(folder))
            return made.getvalue()

        given = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
        return Response(await asyncio.to_thread(pack), media_type="application/zip", headers=given)

    @contextlib.asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Process the queue while the context is active; running jobs continue afterwards."""

        async def work() -> None:
            while True:
                await asyncio.to_thread(self.queue.start)
                await asyncio.sleep(EVERY_S)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            task.cancel()

    async def wrong(self, request: Request, error: Exception) -> Response:
        """Return an error as a page, or as text for scripts."""
        if isinstance(error, HTTPException):
            error = Refusal(error.status_code, "This address does not exist.", fix="go back to the first page.")
        assert isinstance(error, RegraftError)
        kinds = [one for one in type(error).__mro__ if one in STATUS]
        status = error.status if isinstance(error, Refusal) else STATUS[kinds[0]]
        if request.headers.get("accept", "").startswith("text/html"):
            return self.show("wrong.html", 409 if status == 500 else status, error=error)
        return Response(f"{error.message} {error.fix}", status, media_type="text/plain; charset=utf-8")


def web_app(root: Path, host: str, cookie: str = "regraft") -> Guard:
    """Return the application for the folder `root`, listening on `host`."""
    own = Pages(root)

    def route(path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET") -> Route:
        async def handled(request: Request) -> Response:
            with translated():
                return await handler(request)

        return Route(path, handled, methods=[method])

    app = Starlette(
        lifespan=own.running,
        exception_handlers={RegraftError: own.wrong, HTTPException: own.wrong},
        routes=[
            route("/", own.home),
            route("/data", own.choose, "POST"),
            route("/data/{name}", own.data),
            route("/uploads", own.begin_upload, "POST"),
            route("/uploads/{name}", own.end_upload, "POST"),
            route("/uploads/{name}/{inside:path}", own.upload, "PUT"),
            route("/jobs", own.ask, "POST"),
            route("/jobs/{id}", own.job),
            route("/jobs/{id}/live", own.job),
            route("/jobs/{id}/{what}", own.act, "POST"),
            route("/runs/{name}/mistakes", own.mistakes),
            route("/runs/{name}/example", own.example),
            route("/runs/{name}/predict", own.try_, "POST"),
            route("/compare", own.compare),
            route("/exports/{name}/zip", own.packed),
            route("/files/{kind}/{inside:path}", own.file),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            route("/{kind}/{name}", own.result),
        ],
    )
    return Guard(app, own.key, host, cookie)


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)
