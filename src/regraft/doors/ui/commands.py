"""Conversion of forms to command lines: every click corresponds to a command that users can type."""

from collections.abc import Mapping

from regraft.doors.ui.jobs import Job, Lane, Queue
from regraft.doors.ui.place import Place, stem
from regraft.errors import BadRequest
from regraft.recipe import Recipe, parse_setting, with_settings

FLAGS = {
    "fit": ("backbone", "strategy", "cut", "augmentation", "seed", "max_time"),
    "sweep": ("strategies", "backbones", "seeds", "sizes", "max_time"),
    "advise": ("backbones", "strategies", "budget"),
    "audit": ("backbone",),
    "mend": ("backbone",),
    "export": ("to",),
    "explain": (),
    "serve": (),
}
"""Flags that a form may set, by command."""
MADE = {"fit": "runs", "sweep": "sweeps", "advise": "advice", "audit": "audits", "mend": "audits", "export": "exports",
        "explain": "explained"}  # fmt: skip
"""Folder of the results, by command."""
_LANES: Mapping[str, Lane] = {"export": "quick", "explain": "quick", "serve": "serve"}


def asked(queue: Queue, place: Place, form: Mapping[str, str], files: list[str]) -> Job:
    """Add the job that a form requests to the end of the queue. `files` are the inputs of `explain`.

    Raises:
        BadRequest: the form does not request an existing command, or a setting is wrong.
    """
    verb, given = form.get("verb", ""), [f"--set={one}" for one in settings(form.get("settings", ""))]
    if verb not in FLAGS:
        raise BadRequest(f"There is no action {verb[:40]!r}.", fix="reload the page.")
    flags = [f"--{name.replace('_', '-')}={form[name]}" for name in FLAGS[verb] if name in form]
    model = verb in ("export", "explain", "serve")
    kind, subject = ("runs", form.get("run", "")) if model else ("data", form.get("data", ""))
    place.child(kind, subject)
    if verb == "serve":
        return queue.add(f"Serve {subject}", ["serve", f"model={kind}/{subject}", "--port=0"], lane="serve")
    wanted = {
        "fit": f"{stem(subject)}-{form.get('strategy', 'probe')}",
        "export": f"{subject}-{form.get('to', 'onnx')}",
    }
    name = form.get("name") or wanted.get(verb, stem(subject))
    if verb != "audit":  # an audit's page is replaced
        taken = {one.out.partition("/")[2] for one in queue.jobs() if one.out.startswith(f"{MADE[verb]}/")}
        name = place.free(MADE[verb], name, taken)
    out = f"{MADE[verb]}/{name}"
    args = ["audit" if verb == "mend" else verb, f"{kind}/{subject}", *files, *flags, *given, f"--out={out}"]
    if verb == "mend":
        args.append(f"--fix-split=data/{place.free('data', f'{stem(subject)}-clean.csv')}")
    if verb in ("audit", "mend"):
        args.append("--fail-on=never")
    title = {"mend": f"Fix the split of {subject}", "fit": f"Fit {name}"}.get(verb, f"{verb.capitalize()} {subject}")
    return queue.add(title, args, out=out, lane=_LANES.get(verb, "long"), resumes=verb in ("fit", "sweep"))


def settings(text: str) -> list[str]:
    """Parse lines `path=value`, each a setting of the recipe.

    Raises:
        BadRecipe: there is no such setting, or its value is of the wrong kind.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [one for one in map(parse_setting, lines) if not one[0].startswith(("options.", "augment.", "prepare."))]
    with_settings(Recipe(data="data"), dict(known))
    return lines
