"""The commands: check-data, vocabulary, align, train, export, evaluate, parity, latency, frontier, random-bundle."""

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

from .data import DataError, Example, Schema, find_loose_texts, find_near_duplicates, find_repetitions, read_file  # noqa: E402


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
    paths = [*options.files, *options.held_out]
    schema, files = _load(paths, options.schema)
    kept_apart = files[len(options.files) :]
    near = [problem for examples in kept_apart for problem in find_near_duplicates(files[: len(options.files)], examples)]
    if near:
        raise DataError(near)
    for path, examples in zip(paths, files):
        intents = {e.intent for e in examples}
        spans = [s for e in examples for s in e.spans]
        print(f"{path}: {len(examples)} examples, {len(intents)} of {len(schema.intents)} intents, {len(spans)} slot values")
        for name in schema.intents:
            print(f"  {sum(e.intent == name for e in examples):5d}  {name}")
        for name in schema.slots:
            print(f"  {sum(s.slot == name for s in spans):5d}  [{name}]")
    return 0


def _align(options: argparse.Namespace, _: list[str]) -> int:
    import torch

    from .align import align, chinese_words, read_words, write_encoder
    from .e5 import E5File, packaged_file
    from .start import Sizes, load_start

    _, files = _read(options.train, None)
    texts = sorted({example.text for examples in files for example in examples})
    torch.set_num_threads(options.threads)
    start = load_start(options.encoder, Sizes(layers=options.layers), options.vocabulary)
    options.output.mkdir(parents=True, exist_ok=True)
    vocabulary = options.output / "vocab.txt"
    vocabulary.write_text("".join(token + "\n" for token in start.tokens), encoding="utf-8")
    file = E5File(packaged_file())
    words = sorted({*chinese_words(file), *(read_words(options.words) if options.words else [])})
    print(f"{len(texts)} texts, {len(words)} words; {start.sizes.layers} layers learn from all {file.layers} of e5", flush=True)
    machine = (options.precision, options.seed)
    encoder = align(start, texts, words, file, vocabulary, options.epochs, options.batch, options.rate, *machine)
    write_encoder(options.output, encoder, start)
    return 0


def _train(options: argparse.Namespace, given: list[str]) -> int:
    import torch

    from .start import Sizes, load_start
    from .train import RunFolder, Teacher, TrainingOptions, fitting_average, fitting_epochs, train

    paths = [*options.train, options.dev]
    schema, (*train_files, dev_examples) = _load(paths, options.schema)
    train_examples = [example for examples in train_files for example in examples]
    torch.set_num_threads(options.threads)
    sizes = Sizes(options.layers, options.hidden, options.heads, options.feed_forward, options.positions)
    start = load_start(options.encoder, sizes, options.vocabulary)
    if options.epochs is None:
        options.epochs = fitting_epochs(len(train_examples), options.batch)
    if options.average is None:
        options.average = fitting_average(len(train_examples), options.batch, options.epochs)
    settings = TrainingOptions(**{name: getattr(options, name) for name in TrainingOptions.__dataclass_fields__})
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in options.train)).hexdigest()
    about = {
        "command": "python -m kefu_training " + shlex.join(a for a in given if a != "--resume"),
        "train": " ".join(map(str, options.train)),
        "dev": str(options.dev),
        "data_sha256": digest,
        "dev_sha256": hashlib.sha256(options.dev.read_bytes()).hexdigest(),
        "examples": len(train_examples),
    }
    print(
        f"{len(train_examples)} examples, dev {len(dev_examples)}; encoder {start.origin}, {start.sizes.layers} layers of "
        f"{start.sizes.hidden}, {len(start.tokens)} tokens; {len(schema.intents)} intents, {len(schema.labels)} slot labels"
    )
    teacher = Teacher(RunFolder(options.teacher), schema, options.precision, options.device) if options.teacher else None
    run = RunFolder(options.run)
    train(run, start, schema, train_examples, dev_examples, settings, about, options.device, options.resume, teacher=teacher)
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
    from .calibration import expected_calibration_error
    from .metrics import coverage_curve, describe, describe_coverage, measure, out_of_scope
    from .predict import predict

    torch.set_num_threads(options.threads)
    bundle = load_bundle(options.bundle, options.device)
    _, (examples,) = _read([options.file], bundle.schema)
    predictions = predict(bundle.model, bundle.tokenizer, bundle.schema, [e.text for e in examples], options.device)
    guesses = [p.intent for p in predictions]
    figures = measure(examples, guesses, [p.spans for p in predictions])
    print(describe(figures, options.worst))
    apart = out_of_scope(examples, guesses, options.out_of_scope)
    if apart.recall is not None:
        alarms = f"{apart.false_alarms or 0:.2%} of the others taken for it"
        print(f"out of scope       {apart.recall:.2%} of '{options.out_of_scope}' found, {alarms}")
    temperature = bundle.manifest["temperature"]
    logits = torch.stack([p.logits for p in predictions])
    targets = torch.tensor([bundle.schema.intents.index(e.intent) for e in examples])
    print(f"calibration error  {expected_calibration_error(logits, targets, temperature):.2%} at temperature {temperature}")
    confidence = (logits / temperature).softmax(-1).max(-1).values.tolist()
    points = coverage_curve([e.intent == guess for e, guess in zip(examples, guesses)], confidence)
    print(describe_coverage(points))
    if options.plot:
        from .plots import plot_coverage

        plot_coverage([(share, accuracy) for share, accuracy, _ in points], options.plot)
    if options.errors:
        for example, found in zip(examples, predictions):
            if found.intent != example.intent or set(found.spans) != set(example.spans):
                guess = Example(found.intent, example.text, tuple(found.spans))
                print(f"{example.origin}: {example.intent} {example.annotated()}  ->  {guess.intent} {guess.annotated()}")
    return 0


def _vocabulary(options: argparse.Namespace, _: list[str]) -> int:
    import tempfile
    from collections import Counter

    from .e5 import E5File, packaged_file
    from .text import Tokenizer
    from .vocabulary import frequent_vocabulary, shopping_vocabulary

    file = E5File(packaged_file())
    tokens = shopping_vocabulary(lambda token: bool(file.rows_for(token)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
        tokenizer = Tokenizer(path)
    _, files = _read(options.train, None)
    counts = Counter(token for examples in files for example in examples for token in tokenizer.encode(example.text).tokens)
    chosen = frequent_vocabulary(tokens, counts, options.size)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("".join(token + "\n" for token in chosen), encoding="utf-8")
    print(f"{options.output}: {len(chosen)} of {len(tokens)} tokens, {sum(t in counts for t in chosen)} of them in the data")
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


def _frontier(options: argparse.Namespace, _: list[str]) -> int:
    from .bundle import load_bundle
    from .frontier import default_threshold, frontier, table

    light, standard = load_bundle(options.light), load_bundle(options.standard)
    _, (examples,) = _read([options.file], standard.schema)
    if light.schema != standard.schema:
        raise ValueError(f"{options.light}: other intents or slots than {options.standard}")
    points = frontier(light, standard, examples, options.batch, options.seconds, options.labels)
    print(table(points))
    chosen = default_threshold(points, options.loss, options.cost)
    wanted = f"at most {options.loss:.1%} below the standard model at no more than {options.cost:.0%} of its CPU time"
    print(f"no threshold is {wanted}" if chosen is None else f"threshold {chosen:g}: the lowest that is {wanted}")
    if options.plot:
        from .plots import plot_frontier

        alone = [(p.milliseconds, p.intent_accuracy) for p in points[:2]]
        cascade = [(p.threshold, p.milliseconds, p.intent_accuracy) for p in points[2:]]
        plot_frontier(cascade, *alone, chosen, options.plot)
    return 0


def _random_bundle(options: argparse.Namespace, _: list[str]) -> int:
    from .random_bundle import write_random_bundle

    manifest = write_random_bundle(options)
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"{options.bundle}: {size / 1e6:.1f} MB, random weights: for benchmarks only")
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
    check.add_argument("--held-out", nargs="+", type=Path, default=[], help="files whose texts must not be in the others, not even nearly")
    check.add_argument("--schema", default="schema.yaml", help="a YAML file, or auto")
    check.set_defaults(run_command=_check_data)

    train = commands.add_parser("train", help="train a model", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    _add_training_options(train)
    train.set_defaults(run_command=_train)

    align = commands.add_parser(
        "align",
        help="teach the first layers of e5 to read characters, without labels, and write them as a checkpoint for --encoder",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    align.add_argument("--train", type=Path, required=True, nargs="+", help="annotated files; their texts are read")
    align.add_argument("--output", type=Path, required=True, help="the checkpoint's folder")
    align.add_argument("--encoder", default="e5", help="e5, or the folder of an aligned checkpoint to go on with")
    align.add_argument("--words", type=Path, help="words to read as well, one a line, with a count and a part of speech if known")
    align.add_argument("--vocabulary", type=Path, help="a vocab.txt in place of the built-in one")
    align.add_argument("--layers", type=int, default=6)
    align.add_argument("--epochs", type=int, default=3)
    align.add_argument("--batch", type=int, default=64)
    align.add_argument("--rate", type=float, default=5e-4)
    _add_machine_options(align)
    align.set_defaults(run_command=_align)

    vocabulary = commands.add_parser("vocabulary", help="write the most frequent tokens of the built-in vocabulary, for a small model")
    vocabulary.add_argument("--train", type=Path, required=True, nargs="+", help="annotated files; their texts are counted")
    vocabulary.add_argument("--size", type=int, required=True, help="how many tokens")
    vocabulary.add_argument("--output", type=Path, required=True, help="the vocab.txt to write")
    vocabulary.set_defaults(run_command=_vocabulary)

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
    evaluate.add_argument("--out-of-scope", default="chitchat", help="the intent of what is out of scope")
    evaluate.add_argument("--plot", type=Path, help="a PNG file for accuracy over coverage")
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

    edge = commands.add_parser(
        "frontier",
        help="accuracy against CPU time of two bundles and of their cascade",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    edge.add_argument("--light", type=Path, required=True, help="a bundle")
    edge.add_argument("--standard", type=Path, required=True, help="a bundle")
    edge.add_argument("--batch", type=int, default=8, help="utterances in a forward pass, where CPU time is measured")
    edge.add_argument("--seconds", type=float, default=10.0, help="CPU time spent on measuring each bundle")
    edge.add_argument("--labels", type=float, default=0.0, help="least probability of each word's label for the light model to answer")
    edge.add_argument("--loss", type=float, default=0.005, help="accuracy that the cascade may lose to the standard model")
    edge.add_argument("--cost", type=float, default=0.4, help="share of the standard model's CPU time that the cascade may take")
    edge.add_argument("--plot", type=Path, help="a PNG file")
    edge.add_argument("file", type=Path)
    edge.set_defaults(run_command=_frontier)

    dummy = commands.add_parser(
        "random-bundle",
        help="write a bundle of a given shape with random weights, for benchmarks; by default BERT base with a GRU of 384",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    dummy.add_argument("--bundle", type=Path, required=True, help="the folder to write, .../name/version")
    dummy.add_argument("--vocabulary", type=Path, help="a vocab.txt; without one the built-in vocabulary, filled up with unused tokens")
    dummy.add_argument("--tokens", type=int, default=21128, help="size of the vocabulary where none is given")
    for name, value in (("layers", 12), ("hidden", 768), ("heads", 12), ("feed-forward", 3072), ("positions", 512), ("gru", 384)):
        dummy.add_argument(f"--{name}", type=int, default=value)
    dummy.add_argument("--schema", type=Path, default=Path("schema.yaml"))
    dummy.add_argument("--language", default="zh-CN")
    dummy.add_argument("--seed", type=int, default=1)
    dummy.set_defaults(run_command=_random_bundle)
    return parser


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, nargs="+", help="annotated files")
    parser.add_argument("--dev", type=Path, required=True, help="annotated file; chooses the epoch")
    parser.add_argument("--schema", default="schema.yaml", help="a YAML file, or auto: intents and slots as the data has them")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and figures")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--encoder", default="e5", help="e5, e5:FILE, random, e5-words, hub:OWNER/NAME, run:FOLDER, bundle:FOLDER, or a BERT folder")
    parser.add_argument("--vocabulary", type=Path, help="a vocab.txt for e5 or random, in place of the built-in one")
    parser.add_argument("--layers", type=int, default=0, help="the first layers of the encoder; 0: all (random: 4)")
    for name, value in (("hidden", 384), ("heads", 12), ("feed-forward", 1536), ("positions", 512)):
        parser.add_argument(f"--{name}", type=int, default=value, help="size of a random encoder")
    parser.add_argument("--gru", type=int, default=192, help="width of the GRU, each direction")
    parser.add_argument("--epochs", type=int, help="without it as many as make 1,000 steps, and 7 at least")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--encoder-rate", type=float, default=3e-4)
    parser.add_argument("--embedding-rate", type=float, default=3e-4, help="of the word embedding; 0 keeps it as it came")
    parser.add_argument("--head-rate", type=float, default=2e-3)
    parser.add_argument("--warm-up", type=float, default=0.1, help="share of all steps")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.1, help="label smoothing")
    parser.add_argument("--digit-chance", type=float, default=0.1, help="chance for a digit to become #")
    parser.add_argument("--augment", type=float, default=0.6, help="how often examples are changed otherwise; 0: never")
    parser.add_argument("--class-weight", type=float, default=0.0, help="an intent weighs its share to the power of minus this")
    parser.add_argument(
        "--average", type=float, help="decay a step of a moving average of the weights; 0: none; without it the average spans 1/14 of all steps"
    )
    parser.add_argument("--teacher", type=Path, help="a run of the same schema whose opinion is learnt beside the annotation")
    parser.add_argument("--teacher-share", type=float, default=0.7, help="of its opinion in the loss")
    parser.add_argument("--teacher-temperature", type=float, default=2.0)
    parser.add_argument("--patience", type=int, default=5, help="epochs without gain on dev before the end")
    parser.add_argument("--max-length", type=int, default=512)
    _add_machine_options(parser)
    parser.add_argument("--device", default="cpu")


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="bfloat16: autocast, faster where supported"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
