"""Compares the variants of an experiment by the events of its turns. `dialogue-orchestrator report` runs it, and hands over what it read from the experiment's file.

The unit that was randomised is the user, and turns of one user are alike; so users are what is resampled, clustered and permuted, never turns.

- Rates: Wilson's interval (statsmodels) with the effective sample size n / max(1, design effect). The design effect is the variance of the ratio Σy/Σn over users
  (linearised) divided by that of as many independent turns. Where nothing or everything counted, n is the number of users.
- Mean and TP99 of the reply time: percentile bootstrap over users (scipy), seeded.
- Tests against the control: rates and mean by least squares with a covariance that is robust to clusters of users, t with as many degrees of freedom as users less one
  (statsmodels); TP99 by permuting users (scipy). All p-values of a report together are corrected by Holm.
- Sample ratio: chi-square of the users of each variant against the shares of the file.
"""

import argparse
import collections
import csv
import json
import sys

ALPHA = 0.05
# A sample ratio that is off by chance only once in a thousand experiments.
MISMATCH = 0.001
NEEDED = {"id", "user", "session", "seq", "at_ms", "experiment", "variant", "intent", "source", "replayed", "hand_off", "repair", "flows_begun",
          "flows_completed", "duration_us"}
# Name, title, unit of the text, whether it is a rate.
METRICS = [
    ("accuracy", "intent accuracy", "%"), ("mean_ms", "mean reply", "ms"), ("tp99_ms", "TP99 reply", "ms"), ("hand_off", "hand-off (sessions)", "%"),
    ("repair", "repair (turns)", "%"), ("completion", "completion (flows)", "%"),
]


class Fault(Exception):
    """What is wrong with the input, and what was expected."""


def load_libraries():
    try:
        global numpy, stats, statsmodels, multipletests, proportion_confint
        import numpy
        import statsmodels.api as statsmodels
        from scipy import stats
        from statsmodels.stats.multitest import multipletests
        from statsmodels.stats.proportion import proportion_confint
    except ImportError as error:
        raise Fault(f"{sys.executable} has no {error.name or error}: the report needs numpy, scipy and statsmodels, and matplotlib for a plot "
                    "(pip install -r Deploy/experiments/requirements.txt); --python names another Python") from None


# MARK: Reading

def read_events(paths, experiment, notes):
    """The turns of the experiment, each once."""
    variants = {variant["name"] for variant in experiment["variants"]}
    turns, others, bad, twice, unknown = {}, collections.Counter(), [], 0, collections.Counter()
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    try:
                        event = json.loads(line)
                        missing = NEEDED - event.keys()
                    except (ValueError, AttributeError):
                        event, missing = {}, NEEDED
                    if missing:
                        bad.append(f"{path}:{number}")
                    elif event["experiment"] != experiment["name"]:
                        others[event["experiment"] or "none"] += 1
                    elif event["variant"] not in variants:
                        unknown[event["variant"]] += 1
                    else:
                        known = turns.get(event["id"])
                        twice += known is not None
                        # The turn itself rather than its reply given again.
                        if known is None or known["replayed"] and not event["replayed"]:
                            turns[event["id"]] = event
        except (OSError, UnicodeDecodeError) as error:
            raise Fault(f"{path} cannot be read ({error}); a file of --events was expected") from None
    if bad:
        notes.append(f"{len(bad)} lines are no events and were left out, the first at {bad[0]}")
    if unknown:
        notes.append(f"{unknown.total()} turns are of variants that the file does not have, and were left out: {', '.join(sorted(unknown))}")
    if not turns:
        found = ", ".join(f"{name}: {count}" for name, count in others.most_common()) or "none at all"
        raise Fault(f"there is no turn of the experiment '{experiment['name']}' in the events; turns found by experiment: {found}")
    if twice:
        notes.append(f"{twice} events name a turn once more (replies given again, or a file that was named twice); each turn counts once")
    return list(turns.values())


def without_crossovers(turns, notes):
    """Users that were in more than one variant, because shares were changed meanwhile, tell nothing of either."""
    seen = collections.defaultdict(set)
    for turn in turns:
        seen[turn["user"]].add(turn["variant"])
    moved = {user for user, variants in seen.items() if len(variants) > 1}
    if moved:
        notes.append(f"{len(moved)} of {len(seen)} users were in more than one variant, and were left out: were shares changed?")
    return [turn for turn in turns if turn["user"] not in moved]


def read_labels(path):
    """Intents by the ids of turns: a table with a head, of id and intent, or of session, seq and intent."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            head = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter="\t" if "\t" in head else ",")
            columns = set(rows.fieldnames or [])
            if not ({"id", "intent"} <= columns or {"session", "seq", "intent"} <= columns):
                raise Fault(f"{path}:1: the columns are {', '.join(sorted(columns)) or 'none'}; id and intent, or session, seq and intent were expected")
            labels = {}
            for row in rows:
                name = row["id"] if "id" in columns else f"{row['session']}:{row['seq']}"
                if not name or not row["intent"]:
                    raise Fault(f"{path}:{rows.line_num}: a turn and its intent were expected")
                labels[name] = row["intent"]
            return labels
    except (OSError, UnicodeDecodeError) as error:
        raise Fault(f"{path} cannot be read ({error}); a table of labels was expected") from None


# MARK: What is measured

class Rows:
    """Values with the user that each belongs to; users are numbered within the rows."""

    def __init__(self, users, values):
        names, self.users = numpy.unique(numpy.asarray(users, dtype=object).astype(str), return_inverse=True)
        self.values = numpy.asarray(values, dtype=float)
        self.count = len(names)
        self.sums = numpy.bincount(self.users, self.values, self.count)
        self.sizes = numpy.bincount(self.users, minlength=self.count)

    def __len__(self):
        return len(self.values)


def measure(turns, labels):
    """The rows of each metric of one variant."""
    users = [turn["user"] for turn in turns]
    own = [turn for turn in turns if not turn["replayed"]]
    sessions = {}
    for turn in turns:
        user, handed = sessions.get(turn["session"], (turn["user"], False))
        sessions[turn["session"]] = (user, handed or turn["hand_off"] != "")
    labelled = [turn for turn in turns if turn["id"] in labels]
    flows = list(flows_of(turns))
    times = Rows([turn["user"] for turn in own], [turn["duration_us"] / 1000 for turn in own])
    return {
        "accuracy": Rows([turn["user"] for turn in labelled], [turn["intent"] == labels[turn["id"]] for turn in labelled]),
        "mean_ms": times, "tp99_ms": times,
        "hand_off": Rows([user for user, _ in sessions.values()], [handed for _, handed in sessions.values()]),
        "repair": Rows(users, [turn["repair"] for turn in turns]),
        "completion": Rows([user for user, _ in flows], [completed for _, completed in flows]),
    }, len(sessions), len(set(users))


def flows_of(turns):
    """Each flow that was begun: its user, and whether it was completed. One that was begun before the first event is not counted."""
    by_session = collections.defaultdict(list)
    for turn in turns:
        by_session[turn["session"]].append(turn)
    for session in by_session.values():
        open_flows = collections.Counter()
        session.sort(key=lambda turn: (turn["at_ms"], turn["seq"]))
        for turn in session:
            for name in turn["flows_begun"]:
                open_flows[name] += 1
            for name in turn["flows_completed"]:
                if open_flows[name]:
                    open_flows[name] -= 1
                    yield turn["user"], True
        for _ in range(open_flows.total()):
            yield session[0]["user"], False


# MARK: Intervals and tests

def rate(rows):
    """A rate with its interval: Wilson's, by as many turns as would tell as much if they were independent."""
    n, users = len(rows), rows.count
    p = rows.values.mean()
    effective = float(users)
    if 0 < p < 1 and users > 1:
        residuals = rows.sums - p * rows.sizes
        variance = users / (users - 1) * (residuals ** 2).sum() / n ** 2
        effective = n / max(1.0, variance / (p * (1 - p) / n))
    low, high = proportion_confint(p * effective, effective, ALPHA, "wilson")
    return {"value": p, "low": float(low), "high": float(high), "n": n, "effective_n": effective}


def mean_of(rows):
    def statistic(users, axis=-1):
        return rows.sums[users].sum(axis=axis) / rows.sizes[users].sum(axis=axis)
    return statistic


def tp99_of(rows):
    """The least time that 99 of 100 turns did not exceed."""
    order = numpy.argsort(rows.values, kind="stable")
    values, owners = rows.values[order], rows.users[order]

    def statistic(users):
        weights = numpy.bincount(users, minlength=rows.count)[owners].cumsum()
        return values[numpy.searchsorted(weights, 0.99 * weights[-1])]
    return statistic


def time(rows, statistic, vectorized, options):
    users = numpy.arange(rows.count)
    value = float(statistic(users))
    low = high = value
    if rows.count > 1:
        interval = stats.bootstrap(
            (users,), statistic, n_resamples=options.resamples, vectorized=vectorized, batch=64 if vectorized else None, method="percentile",
            confidence_level=1 - ALPHA, rng=numpy.random.default_rng(options.seed)).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return {"value": value, "low": low, "high": high, "n": len(rows)}


def compare(control, other):
    """The difference of two means or rates, its interval and its p-value."""
    y = numpy.concatenate([control.values, other.values])
    x = numpy.concatenate([numpy.zeros(len(control)), numpy.ones(len(other))])
    users = numpy.concatenate([control.users, other.users + control.count])
    if control.count + other.count < 3 or y.min() == y.max():
        return float(other.values.mean() - control.values.mean()), None, None, None
    fitted = statsmodels.OLS(y, statsmodels.add_constant(x)).fit(cov_type="cluster", cov_kwds={"groups": users}, use_t=True)
    low, high = fitted.conf_int(ALPHA)[1]
    return float(fitted.params[1]), float(low), float(high), float(fitted.pvalues[1])


def compare_tp99(control, other, options):
    joined = Rows([], [])
    joined.users = numpy.concatenate([control.users, other.users + control.count])
    joined.values = numpy.concatenate([control.values, other.values])
    joined.count = control.count + other.count
    statistic = tp99_of(joined)
    groups = (numpy.arange(control.count), numpy.arange(control.count, joined.count))

    def difference(a, b):
        return statistic(b) - statistic(a)
    if min(control.count, other.count) < 2:
        return float(difference(*groups)), None, None, None
    interval = stats.bootstrap(
        groups, difference, n_resamples=options.resamples, vectorized=False, method="percentile", confidence_level=1 - ALPHA,
        rng=numpy.random.default_rng(options.seed)).confidence_interval
    tested = stats.permutation_test(
        groups, difference, n_resamples=options.resamples, vectorized=False, rng=numpy.random.default_rng(options.seed))
    return float(tested.statistic), float(interval.low), float(interval.high), float(tested.pvalue)


def sample_ratio(experiment, users):
    """The p-value of the users of each variant under the shares of the file; nil where there is nothing to compare."""
    parts = [(users[variant["name"]], variant["share"]) for variant in experiment["variants"] if variant["share"] > 0]
    total = sum(count for count, _ in parts)
    if len(parts) < 2 or total == 0:
        return None
    return float(stats.chisquare([count for count, _ in parts], [share * total for _, share in parts]).pvalue)


def shadows_of(turns, labels):
    """What shadows recognised beside the model that answered, by variant and shadow."""
    groups = collections.defaultdict(list)
    failures = collections.Counter()
    for turn in turns:
        shadow = turn.get("shadow")
        if shadow and "error" in shadow:
            failures[turn["variant"], shadow["error"]] += 1
        elif shadow:
            groups[turn["variant"], shadow["model"]].append(turn)
    found = []
    for (variant, model), own in sorted(groups.items()):
        labelled = [turn for turn in own if turn["id"] in labels]
        found.append({
            "variant": variant, "model": model, "turns": len(own),
            "agreement": rate(Rows([turn["user"] for turn in own], [turn["intent"] == turn["shadow"]["intent"] for turn in own])),
            "accuracy": rate(Rows([t["user"] for t in labelled], [t["shadow"]["intent"] == labels[t["id"]] for t in labelled])) if labelled else None,
            "accuracy_of_answer": rate(Rows([t["user"] for t in labelled], [t["intent"] == labels[t["id"]] for t in labelled])) if labelled else None,
        })
    return found, [{"variant": variant, "error": error, "turns": count} for (variant, error), count in sorted(failures.items())]


def report(experiment, options):
    notes, warnings = [], []
    turns = without_crossovers(read_events(options.events, experiment, notes), notes)
    labels = read_labels(options.labels) if options.labels else {}
    if labels:
        unmatched = len(labels.keys() - {turn["id"] for turn in turns})
        if unmatched:
            notes.append(f"{unmatched} of {len(labels)} labels are of turns that are not in the events")
    by_variant = collections.defaultdict(list)
    for turn in turns:
        by_variant[turn["variant"]].append(turn)
    rows, variants, users = {}, [], {}
    for variant in experiment["variants"]:
        name = variant["name"]
        own = by_variant[name]
        rows[name], sessions, users[name] = measure(own, labels)
        result = {"name": name, "share": variant["share"], "control": name == experiment["control"], "turns": len(own), "sessions": sessions,
                  "users": users[name], "models": dict(collections.Counter(turn.get("model", "") for turn in own).most_common()), "metrics": {}}
        for metric, _, _ in METRICS:
            values = rows[name][metric]
            if len(values) == 0:
                continue
            if metric == "mean_ms":
                result["metrics"][metric] = time(values, mean_of(values), True, options)
            elif metric == "tp99_ms":
                result["metrics"][metric] = time(values, tp99_of(values), False, options)
            else:
                result["metrics"][metric] = rate(values)
        variants.append(result)

    comparisons = []
    control = rows[experiment["control"]]
    for variant in variants:
        if variant["control"]:
            continue
        for metric, _, _ in METRICS:
            a, b = control[metric], rows[variant["name"]][metric]
            if len(a) == 0 or len(b) == 0:
                continue
            difference, low, high, p = compare_tp99(a, b, options) if metric == "tp99_ms" else compare(a, b)
            comparisons.append({"variant": variant["name"], "metric": metric, "difference": difference, "low": low, "high": high, "p": p})
    tested = [c for c in comparisons if c["p"] is not None]
    for comparison in comparisons:
        comparison["p_holm"], comparison["significant"] = None, False
    if tested:
        significant, corrected, _, _ = multipletests([c["p"] for c in tested], ALPHA, "holm")
        for comparison, p, is_significant in zip(tested, corrected, significant):
            comparison["p_holm"], comparison["significant"] = float(p), bool(is_significant)

    ratio = sample_ratio(experiment, users)
    if ratio is not None and ratio < MISMATCH:
        warnings.append(
            f"sample ratio mismatch (chi-square p = {ratio:.2g}): users are not divided as the file says, so variants cannot be compared. "
            "Were shares changed, events lost on one side, or some users left out?")
    shadows, failures = shadows_of(turns, labels)
    return {"experiment": experiment["name"], "control": experiment["control"], "confidence": 1 - ALPHA, "seed": options.seed,
            "resamples": options.resamples, "variants": variants, "comparisons": comparisons, "sample_ratio_p": ratio, "shadows": shadows,
            "shadow_failures": failures, "warnings": warnings, "notes": notes}


# MARK: Showing

def shown(metric, value):
    return "–" if value is None else f"{value * 100:.1f}" if dict((name, unit) for name, _, unit in METRICS)[metric] == "%" else f"{value:.1f}"


def interval(metric, found):
    if found is None:
        return "–"
    if found["low"] is None:
        return shown(metric, found.get("value", found.get("difference")))
    return f"{shown(metric, found.get('value', found.get('difference')))} [{shown(metric, found['low'])}, {shown(metric, found['high'])}]"


def table(head, body):
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
             for row in [head, ["-" * width for width in widths], *body]]
    return "\n".join(lines)


def text(result):
    names = [variant["name"] + (" (control)" if variant["control"] else "") for variant in result["variants"]]
    parts = [f"Experiment {result['experiment']}: 95 % intervals over users; p by Holm over all comparisons", ""]
    body = [[label, *(f"{variant[key]}" for variant in result["variants"])] for label, key in
            [("users", "users"), ("sessions", "sessions"), ("turns", "turns")]]
    body += [[f"{title}, {unit}", *(interval(metric, variant["metrics"].get(metric)) for variant in result["variants"])]
             for metric, title, unit in METRICS]
    parts += [table(["", *names], body), ""]
    if result["comparisons"]:
        titles = {name: f"{title}, {unit}" for name, title, unit in METRICS}
        body = [[f"{c['variant']}: {titles[c['metric']]}", interval(c["metric"], c), *("–" if p is None else f"{p:.3g}" for p in (c["p"], c["p_holm"])),
                 "yes" if c["significant"] else "no"] for c in result["comparisons"]]
        parts += [table([f"less {result['control']}", "difference", "p", "p (Holm)", "significant"], body), ""]
    for variant in result["variants"]:
        models = ", ".join(f"{model or 'none'} {count}" for model, count in variant["models"].items())
        parts.append(f"{variant['name']} was answered by: {models or 'nothing'}")
    for shadow in result["shadows"]:
        line = f"shadow {shadow['model']} beside {shadow['variant']}: {shadow['turns']} turns, the same intent in {interval('accuracy', shadow['agreement'])} %"
        if shadow["accuracy"]:
            line += f"; of those labelled it was right in {interval('accuracy', shadow['accuracy'])} %, the answer in {interval('accuracy', shadow['accuracy_of_answer'])} %"
        parts.append(line)
    parts += [f"shadow beside {f['variant']}: {f['turns']} turns without, {f['error']}" for f in result["shadow_failures"]]
    if result["sample_ratio_p"] is not None:
        parts.append(f"sample ratio: chi-square p = {result['sample_ratio_p']:.3g}")
    parts += [f"note: {note}" for note in result["notes"]]
    parts += [f"WARNING: {warning}" for warning in result["warnings"]]
    return "\n".join(parts)


def plot(result, path):
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise Fault("--plot needs matplotlib (pip install -r Deploy/experiments/requirements.txt)") from None
    shown_metrics = [metric for metric in METRICS if any(metric[0] in variant["metrics"] for variant in result["variants"])]
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 1.6 + 0.9 * max(2, len(result["variants"])) * 1.2), squeeze=False)
    for axis in axes.flat[len(shown_metrics):]:
        axis.set_axis_off()
    significant = {(c["variant"], c["metric"]) for c in result["comparisons"] if c["significant"]}
    for axis, (metric, title, unit) in zip(axes.flat, shown_metrics):
        scale = 100 if unit == "%" else 1
        for row, variant in enumerate(reversed(result["variants"])):
            found = variant["metrics"].get(metric)
            if found is None:
                continue
            value, low, high = (found[key] * scale for key in ("value", "low", "high"))
            color = "0.45" if variant["control"] else "tab:red" if (variant["name"], metric) in significant else "tab:blue"
            axis.errorbar(value, row, xerr=[[max(0, value - low)], [max(0, high - value)]], fmt="o", color=color, capsize=3)
        axis.set_yticks(range(len(result["variants"])), [variant["name"] for variant in reversed(result["variants"])])
        axis.set_ylim(-0.6, len(result["variants"]) - 0.4)
        axis.set_title(f"{title}, {unit}", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{result['experiment']}: 95 % intervals over users; red: differs from {result['control']} (Holm, 5 %)", fontsize=11)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise Fault(f"--plot {path} cannot be written: {error}") from None


def main():
    parser = argparse.ArgumentParser(prog="report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment-json", required=True, help='{"name", "control", "variants": [{"name", "share" (0 to 1)}]}')
    parser.add_argument("--events", nargs="+", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    try:
        load_libraries()
        result = report(json.loads(options.experiment_json), options)
        if options.plot:
            plot(result, options.plot)
    except Fault as fault:
        print(f"report: {fault}", file=sys.stderr)
        return 2
    print(json.dumps(result, ensure_ascii=False, indent=2) if options.json else text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
