"""The commands: train, export, evaluate, check-data, parity, latency."""

import argparse
import hashlib
import os
import shlex
import sys
from pathlib import Path

# torch's threads spin while they wait, which on shared cores makes a step of the GRU many times slower; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
# What CUDA needs to give the same weights twice.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from .data import DataError, Example, Schema, find_loose_texts, find_repetitions, read_file  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it succeeded, 1 when its input was bad."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given)
    from .bundle import BundleError
    from .checkpoint import CheckpointError
    from .train import RunError

    try:
        return options.run_command(options, given)
    except (DataError, BundleError, CheckpointError, RunError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _check_data(options: argparse.Namespace, _: list[str]) -> int:
    schema, files = _load(options.files, options.schema)
    for path, examples in zip(options.files, files):
        intents = {e.intent for e in examples}
        spans = [s for e in examples for s in e.spans]
        print(f"{path}: {len(examples)} examples, {len(intents)} of {len(schema.intents)} intents, {len(spans)} slot values")
        for name in schema.intents:
            print(f"  {sum(e.intent == name for e in examples):5d}  {name}")
        for name in schema.slots:
            print(f"  {sum(s.slot == name for s in spans):5d}  [{name}]")
    return 0


def _train(options: argparse.Namespace, given: list[str]) -> int:
    import torch

    from .start import Sizes, load_start
    from .train import RunFolder, TrainingOptions, train

    paths = [*options.train, options.dev]
    schema, (*train_files, dev_examples) = _load(paths, options.schema)
    train_examples = [example for examples in train_files for example in examples]
    torch.set_num_threads(options.threads)
    sizes = Sizes(options.layers, options.hidden, options.heads, options.feed_forward, options.positions)
    start = load_start(options.encoder, sizes, options.vocabulary)
    settings = TrainingOptions(**{name: getattr(options, name) for name in TrainingOptions.__dataclass_fields__})
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()
    about = {
        "command": "python -m kefu_training " + shlex.join(a for a in given if a != "--resume"),
        "train": " ".join(map(str, options.train)),
        "dev": str(options.dev),
        "data_sha256": digest,
        "examples": len(train_examples),
    }
    print(
        f"{len(train_examples)} examples, dev {len(dev_examples)}; encoder {start.origin}, {start.sizes.layers} layers of "
        f"{start.sizes.hidden}, {len(start.tokens)} tokens; {len(schema.intents)} intents, {len(schema.labels)} slot labels"
    )
    run = RunFolder(options.run)
    train(run, start, schema, train_examples, dev_examples, settings, about, options.device, options.resume)
    print(f"best epoch in {run.best}")
    return 0


def _export(options: argparse.Namespace, _: list[str]) -> int:
    from .export import export
    from .metrics import describe
    from .train import RunFolder

    run = RunFolder(options.run)
    _, (dev,) = _read([options.dev], run.read_schema())
    manifest, figures = export(run, options.bundle, dev, options.language)
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"{options.bundle}: {size / 1e6:.1f} MB, temperature {manifest['temperature']}\n{describe(figures)}")
    if size > options.limit_mb * 1e6:
        print(f"{options.bundle}: larger than --limit-mb {options.limit_mb}: take fewer layers or a smaller vocabulary", file=sys.stderr)
        return 1
    return 0


def _evaluate(options: argparse.Namespace, _: list[str]) -> int:
    import torch

    from .bundle import load_bundle
    from .metrics import describe, measure
    from .predict import predict

    torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, options.device)
    _, (examples,) = _read([options.file], bundle.schema)
    predictions = predict(bundle.model, bundle.tokenizer, bundle.schema, [e.text for e in examples], options.device)
    figures = measure(examples, [p.intent for p in predictions], [p.spans for p in predictions])
    print(describe(figures, options.worst))
    if options.errors:
        for example, found in zip(examples, predictions):
            if found.intent != example.intent or set(found.spans) != set(example.spans):
                guess = Example(found.intent, example.text, tuple(found.spans))
                print(f"{example.origin}: {example.intent} {example.annotated()}  ->  {guess.intent} {guess.annotated()}")
    return 0


def _parity(options: argparse.Namespace, _: list[str]) -> int:
    from .bundle import load_bundle
    from .parity import write_parity

    count = write_parity(load_bundle(options.bundle), options.output)
    print(f"{options.output}: {count} texts, {options.output.stat().st_size / 1e3:.0f} kB")
    return 0


def _latency(options: argparse.Namespace, _: list[str]) -> int:
    from .bundle import load_bundle
    from .latency import milliseconds_a_row

    bundle = load_bundle(options.bundle)
    for rows in options.batches:
        cost = milliseconds_a_row(bundle.model, rows, options.length, options.seconds)
        print(f"batch {rows:3d} x {options.length} tokens: {cost:.3f} ms of CPU a row, one thread")
    return 0


def _load(paths: list[Path], schema_option: str) -> tuple[Schema, list[list[Example]]]:
    """Reads files with the schema of an option: a YAML file, or ``auto`` to take intents and slots from the files themselves.

    With a schema, repetitions, loose white space and spans that cut words are errors; with ``auto`` (data of others) they are warnings.
    """
    from .text import find_cut_words, words_of

    automatic = schema_option == "auto"
    schema, files = _read(paths, None if automatic else Schema.read(Path(schema_option)))
    problems = find_repetitions(files, words_of)
    for examples in files:
        problems += find_loose_texts(examples) + find_cut_words(examples)
    if problems and not automatic:
        raise DataError(problems)
    if problems:
        print(f"warning: {len(problems)} repetitions, clashes, loose or cut texts, the first: {problems[0]}", file=sys.stderr)
    return schema, files


def _read(paths: list[Path], schema: Schema | None) -> tuple[Schema, list[list[Example]]]:
    read = [read_file(path, schema) for path in paths]
    problems = [problem for file in read for problem in file.problems]
    if problems:
        raise DataError(problems)
    files = [file.examples for file in read]
    return schema or Schema.derived([e for examples in files for e in examples]), files


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kefu_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check-data", help="check annotated files against a schema and each other, and count")
    check.add_argument("files", nargs="+", type=Path)
    check.add_argument("--schema", default="schema.yaml", help="a YAML file, or auto")
    check.set_defaults(run_command=_check_data)

    train = commands.add_parser("train", help="train a model", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    _add_training_options(train)
    train.set_defaults(run_command=_train)

    export = commands.add_parser("export", help="write the best epoch of a run as a bundle")
    export.add_argument("--run", type=Path, required=True)
    export.add_argument("--bundle", type=Path, required=True, help="the folder to write, .../name/version")
    export.add_argument("--dev", type=Path, required=True, help="for calibration and figures")
    export.add_argument("--language", default="zh-CN")
    export.add_argument("--limit-mb", type=float, default=32.0, help="fail above this size in megabytes")
    export.set_defaults(run_command=_export)

    evaluate = commands.add_parser("evaluate", help="measure a bundle on an annotated file")
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.add_argument("--worst", type=int, default=15, help="how many confusions to print")
    evaluate.add_argument("--errors", action="store_true", help="print every utterance that is not right")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--threads", type=int, default=2)
    evaluate.add_argument("file", type=Path)
    evaluate.set_defaults(run_command=_evaluate)

    parity = commands.add_parser("parity", help="write the logits that intent-server is held to")
    parity.add_argument("--bundle", type=Path, required=True)
    parity.add_argument("--output", type=Path, default=Path("tests/resources/parity.json"))
    parity.set_defaults(run_command=_parity)

    latency = commands.add_parser("latency", help="measure the CPU time of a row on one thread")
    latency.add_argument("--bundle", type=Path, required=True)
    latency.add_argument("--length", type=int, default=16)
    latency.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    latency.add_argument("--seconds", type=float, default=1.0, help="CPU time spent on each")
    latency.set_defaults(run_command=_latency)
    return parser


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, nargs="+", help="annotated files")
    parser.add_argument("--dev", type=Path, required=True, help="annotated file; chooses the epoch")
    parser.add_argument("--schema", default="schema.yaml", help="a YAML file, or auto: intents and slots as the data has them")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and figures")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--encoder", default="e5", help="e5, e5:FILE, random, hub:OWNER/NAME, or the folder of a BERT checkpoint")
    parser.add_argument("--vocabulary", type=Path, help="a vocab.txt for e5 or random, in place of the built-in one")
    parser.add_argument("--layers", type=int, default=0, help="the first layers of the encoder; 0: all (random: 4)")
    for name, value in (("hidden", 384), ("heads", 12), ("feed-forward", 1536), ("positions", 512)):
        parser.add_argument(f"--{name}", type=int, default=value, help="size of a random encoder")
    parser.add_argument("--gru", type=int, default=192, help="width of the GRU, each direction")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--encoder-rate", type=float, default=3e-4)
    parser.add_argument("--embedding-rate", type=float, default=3e-4, help="of the word embedding; 0 keeps it as it came")
    parser.add_argument("--head-rate", type=float, default=2e-3)
    parser.add_argument("--warm-up", type=float, default=0.1, help="share of all steps")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.1, help="label smoothing")
    parser.add_argument("--digit-chance", type=float, default=0.1, help="chance for a digit to become #")
    parser.add_argument("--patience", type=int, default=5, help="epochs without gain on dev before the end")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="bfloat16: autocast, faster where supported"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
