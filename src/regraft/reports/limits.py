"""What a run did not verify. Everything here follows from the report; nothing is known of the examples themselves."""

from regraft.reports.report import Report
from regraft.words import counted


def not_verified(report: Report) -> list[str]:
    """One sentence or two for everything that the figures do not show."""
    said = [_independence(report)]
    if report.model is not None:
        said.append("Whether these examples, or near copies of them, were trained on was not looked at.")
    if not report.data.groups:
        said.append(
            "No groups were given. If several examples come from one patient, plant, place or session, the figures "
            "are too good; name the column (--group-column) or the pattern (--group-pattern)."
        )
    said.append("The labels were taken as given.")
    said.append("Nothing is known of examples from elsewhere: another site, device, season or population.")
    if report.backbone.weights != "random":
        trained_on = report.backbone.trained_on or "what the weights were trained on"
        said.append(f"Whether test examples occur in the source data ({trained_on}) was not looked at.")
    said.append("One seed was run; how much the figures vary from seed to seed is not known.")
    if report.store is not None and (check := report.store.check):
        said.append(
            "Stored float16 activations were compared with recomputed ones on "
            f"{counted(check.examples, 'example')} only."
        )
    if report.task.states_probabilities and not (report.calibration and report.calibration.kept):
        said.append("The probabilities are uncalibrated: use them to rank, not as frequencies.")
    return [sentence for sentence in said if sentence]


def _independence(report: Report) -> str:
    if report.section is None:
        return "Nothing was held out, so nothing is known of how well the model does on new examples."
    if report.main == "cross-validation":
        return (
            "There is no test split. The figure is that of models trained on some of the data; the model that was "
            "saved was trained on everything and was itself never tested."
        )
    return ""
