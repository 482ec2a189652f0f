"""What a run did not verify. Everything here follows from the report; nothing is known of the examples themselves."""

from regraft.reports.verdict import Section, kind_of, main_section
from regraft.reports.words import counted


def not_verified(report: Section) -> list[str]:
    """One sentence or two for everything that the figures do not show."""
    data, backbone = report.get("data") or {}, report.get("backbone") or {}
    section = main_section(report)
    said = [_independence(report, section)]
    if report.get("model"):
        said.append("Whether these examples, or near copies of them, were trained on was not looked at.")
    if not data.get("groups"):
        said.append(
            "No groups were given. If several examples come from one patient, plant, place or session, the figures "
            "are too good; name the column (--group-column) or the pattern (--group-pattern)."
        )
    said.append("The labels were taken as given.")
    said.append("Nothing is known of examples from elsewhere: another site, device, season or population.")
    if backbone.get("weights") != "random":
        trained_on = backbone.get("trained_on") or "what the weights were trained on"
        said.append(f"Whether test examples occur in the source data ({trained_on}) was not looked at.")
    said.append("One seed was run; how much the figures vary from seed to seed is not known.")
    check = (report.get("store") or {}).get("check")
    kept_half = any(one.get("dtype") == "float16" for one in ((report.get("store") or {}).get("cuts") or {}).values())
    if kept_half and check:
        said.append(
            f"Half-precision activations were compared with recomputed ones on "
            f"{counted(check['examples'], 'example')} only."
        )
    calibration = report.get("calibration")
    if kind_of(section) != "regression" and (not calibration or not calibration.get("kept")):
        said.append("The probabilities are uncalibrated: use them to rank, not as frequencies.")
    return [sentence for sentence in said if sentence]


def _independence(report: Section, section: Section | None) -> str:
    if section is None:
        return "Nothing was held out, so nothing is known of how well the model does on new examples."
    main = report.get("main")
    if main == "cross-validation":
        return (
            "There is no test part. The figure is that of models trained on parts of the data; the model that was "
            "saved was trained on everything and was itself never tested."
        )
    if main == "validation":
        return (
            "There is no test part. The validation examples also chose when to stop, so their figures are somewhat "
            "too good."
        )
    return ""
