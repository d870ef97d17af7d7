"""CARD.md: what a bundle is, what it was made from, and what it scored, for whoever has to decide to trust it."""

from __future__ import annotations

from gateway.forge import data_lines
from gateway.model.bundle import Manifest
from gateway.model.certificate import Certificate, Confidence

NAME = "CARD.md"


def write(manifest: Manifest, certificate: Certificate) -> str:
    """The card of a bundle, from what it says of itself alone."""
    parts = [_head(manifest), _students(manifest), _fidelity(manifest), _promises(certificate)]
    if checked := manifest.metrics.get("checks"):
        parts.append("## Data\n\n" + "\n".join(f"- {line}" for line in data_lines.of(checked)))
    return "\n\n".join([*parts, _terms(manifest)]) + "\n"


def warnings(certificate: Certificate) -> list[str]:
    """What whoever made the bundle has to hear: a line for each confidence of the 8-bit graph without a certificate."""
    which = {"alone": "alone", "informed": "informed by a search"}
    confidences = certificate.variants["int8"].confidences
    return [
        _insufficient(certificate, one, which[name]) for name, one in confidences.items() if not one.operating.holds
    ]


def _insufficient(certificate: Certificate, confidence: Confidence, which: str) -> str:
    remedy = (
        f"About {confidence.needed} would be needed, with outliers in proportion, if it goes on as it does: add data, "
        "or raise certify in the recipe's [data]."
        if confidence.needed
        else "It is wrong too often at every threshold, so more of them would not help; better questions, or a higher "
        "risk in the recipe's [confidence], would."
    )
    return (
        f"the certificate of the confidence {which} is INSUFFICIENT: {certificate.questions} certification "
        f"questions and {certificate.outliers} outliers do not show that at most {certificate.risk:.0%} of "
        f"the model's answers are wrong. {remedy} As it is, the model answers nothing by this confidence; "
        "retrieval does, where there are documents."
    )


def _head(manifest: Manifest) -> str:
    documents = sum(bool(label.document_id) for label in manifest.labels)
    teachers = " and ".join(one.split()[0] for one in manifest.teacher.split(", "))
    return (
        f"# {manifest.name} {manifest.version}\n\n"
        f"A question encoder of {manifest.layers} layers with two heads: it tells {len(manifest.labels)} intents "
        f"apart, {documents} of which stand for documents of a knowledge base, and it embeds questions and passages "
        f"({manifest.dim} dimensions) for retrieval. English, up to {manifest.max_tokens} tokens.\n\n"
        f"Made {manifest.created[:10]} from {manifest.base.split()[0]}, {_origin(manifest, teachers)}."
    )


def _origin(manifest: Manifest, teachers: str) -> str:
    if manifest.recipe.get("extend"):
        return f"with the encoder of {teachers} as it is, and the last layer of its answer head fitted for more labels"
    return f"taught by {teachers}, fine-tuned"


def _students(manifest: Manifest) -> str:
    measured = manifest.metrics["students"]
    names = list(dict.fromkeys(name for one in measured.values() for name in one))
    rows = [
        "| layers | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for layers, one in sorted(measured.items(), key=lambda item: int(item[0])):
        cells = [f"{one[name]:.1%}" if one.get(name, 2) <= 1 else f"{one.get(name, 0):,.0f}" for name in names]
        mark = " (this one)" if int(layers) == manifest.layers else ""
        rows.append(f"| {layers}{mark} | " + " | ".join(cells) + " |")
    if manifest.recipe.get("extend"):  # there was nothing to choose from
        share = measured[str(manifest.layers)]["accuracy"]
        return f"## The student\n\nAccuracy on the development questions, which trained nothing: {share:.1%}."
    return (
        "## Which student\n\n" + "\n".join(rows) + "\n\n"
        "Accuracy on the development questions, which trained nothing. Retrieval: the right document comes first, by "
        "the embedding alone, for questions of intents that were held out (unseen) or trained on (seen). Per second: "
        "one question at a time, 8-bit graph, one CPU core. The shallowest within one point of each best ships, "
        "or the one that is least behind in the two together."
    )


def _fidelity(manifest: Manifest) -> str:
    parity = manifest.metrics["parity"]
    rows = [
        "| precision | same label as fp32 | largest change when packed | labels that changes |",
        "|---|---|---|---|",
    ]
    for precision, share in parity["agreement"].items():
        drift, flips = parity["packed_drift"][precision], parity["packed_flips"][precision]
        rows.append(f"| {precision} | {share:.2%} | {drift:.1e} | {flips} |")
    return (
        "## Fidelity of the graphs\n\n" + "\n".join(rows) + "\n\n"
        f"On {parity['questions']} questions that trained nothing. The reference, fp32 ONNX, differs from what was "
        f"trained by at most {parity['reference_difference']:.1e}. Packed: a question among 31 others against the "
        "question alone. When the 8-bit graph serves, each question has a row of its own, so that nothing changes."
    )


def _promises(certificate: Certificate) -> str:
    rows = [
        "| precision | confidence | status | threshold | accepted | wrong | risk is at most | holds up to | stale |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for precision, variant in certificate.variants.items():
        for name, one in variant.confidences.items():
            at, stale = one.operating, one.back_off
            counts = f"{at.value:.3f} | {at.accepted} | {at.wrong} | {at.upper_bound:.2%}"
            shares = f"{at.certified_up_to_oos_share:.1%} | {stale.value:.3f} ({stale.risk:.1%})"
            rows.append(f"| {precision} | {name} | {one.status} | {counts} | {shares} |")
    return (
        "## What the threshold promises\n\n" + "\n".join(rows) + "\n\n"
        f"With probability {certificate.assurance:.0%} over {certificate.questions} certification questions and "
        f"{certificate.outliers} outliers, at most {certificate.risk:.0%} of the model's answers are wrong, "
        f"{_scope(certificate)} It holds for questions like the certification questions; intents that are near to the "
        "known ones and were launched later are harder. Alone: by the model's outputs. Informed: by what a search of "
        "the knowledge base finds as well, which the cascade does; it was certified with the documents that existed "
        "before launch. Stale: the threshold that takes over when a monitor finds that questions have changed, and "
        f"what it was certified at. {_groups(certificate)}"
    )


def _groups(certificate: Certificate) -> str:
    found = [
        f"{name} ({precision}, {which}: {group.upper_bound:.2%})"
        for precision, variant in certificate.variants.items()
        for which, one in variant.confidences.items()
        for name, group in one.groups.items()
        if group.is_certified
    ]
    if found:
        return f"Groups of intents with a certificate of their own: {', '.join(found)}. The others are only pooled."
    return "Nothing is promised of a part of the answers: no group of intents has a certificate of its own."


def _scope(certificate: Certificate) -> str:
    if not certificate.outliers:
        return "among questions in scope alone: no outliers were measured."
    return f"at an out-of-scope share of up to {certificate.oos_share:.0%} of the kind of the recipe's outliers."


def _terms(manifest: Manifest) -> str:
    lines = "\n".join(f"- {one}" for one in manifest.attribution) or "- none"
    return f"## Terms\n\nLicence of the weights: {manifest.licence}. Made from:\n\n{lines}"
