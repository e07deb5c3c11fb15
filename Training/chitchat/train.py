"""Makes the model of small talk: a SavedModel that answers with the reply of the nearest known question.

    python train.py --output DIR/1

Nothing is learned by gradient: questions are vectors of their characters and pairs of characters, weighted by how rare they are (TF-IDF), and nearness is
the cosine. All of it is in the TensorFlow graph: `text` and `context` (the recent lines, one a line) are strings [n]; `reply` is a string [n], empty where
no question is near enough, and `score` a float [n]. A pair with a context counts only as far as the recent lines are like that context.
"""

import argparse
import math
import pathlib

import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
BUCKETS = 4096
# A question must be so near; chosen by reading what is said to questions of no pair (Tests/Python/test_chitchat.py has some).
NEAR = 0.55
# How much of a pair's score its context makes, where it has one.
CONTEXT_WEIGHT = 0.4


def read_pairs(path):
    """(question, reply, context) of every pair."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("\t")
        if len(fields) not in (2, 3) or not all(fields):
            raise SystemExit(f"{path}:{number}: 'question|question<TAB>reply[<TAB>context]' is expected")
        pairs += [(question, fields[1], fields[2] if len(fields) == 3 else "") for question in fields[0].split("|")]
    return pairs


def grams(texts):
    """The buckets of characters and pairs of characters of texts [n], as a dense [n, m] padded with -1."""
    texts = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[\s\pP\pS]+", "")
    characters = tf.strings.unicode_split(texts, "UTF-8", errors="replace")
    pairs = tf.strings.ngrams(characters, ngram_width=(1, 2), separator="")
    return tf.ragged.map_flat_values(lambda gram: tf.strings.to_hash_bucket_fast(gram, BUCKETS), pairs).to_tensor(default_value=-1)


def presence(texts):
    """Which buckets occur in texts: [n, BUCKETS] of 0 and 1."""
    return tf.reduce_max(tf.one_hot(tf.pad(grams(texts), [[0, 0], [0, 1]], constant_values=-1), BUCKETS), axis=1)


class SmallTalk(tf.Module):
    def __init__(self, pairs):
        questions = presence([question for question, _, _ in pairs])
        rarity = tf.math.log((1.0 + len(pairs)) / (1.0 + tf.reduce_sum(questions, axis=0))) + 1.0
        self.rarity = tf.constant(rarity)
        self.questions = tf.constant(self.vectors([question for question, _, _ in pairs]))
        contexts = sorted({context for _, _, context in pairs})
        self.contexts = tf.constant(self.vectors(contexts))
        self.context_of = tf.constant([contexts.index(context) for _, _, context in pairs])
        self.needs_context = tf.constant([bool(context) for _, _, context in pairs])
        self.replies = tf.constant([reply for _, reply, _ in pairs])

    def vectors(self, texts):
        return tf.math.l2_normalize(presence(texts) * self.rarity, axis=1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.string, "context")])
    def serve(self, text, context):
        near = tf.matmul(self.vectors(text), self.questions, transpose_b=True)
        lines = tf.strings.split(context, "\n")
        nearest_line = tf.matmul(self.vectors(lines.flat_values), self.contexts, transpose_b=True)
        in_context = tf.RaggedTensor.from_row_splits(nearest_line, lines.row_splits)
        in_context = tf.gather(tf.maximum(tf.reduce_max(in_context, axis=1), 0.0), self.context_of, axis=1)
        with_context = (1.0 - CONTEXT_WEIGHT) * near + CONTEXT_WEIGHT * in_context
        # A follow-up beats the same words said out of the blue only in its context.
        scores = tf.where(self.needs_context[tf.newaxis], tf.where(in_context > 0.5, with_context + 0.05, 0.0), near)
        best = tf.argmax(scores, axis=1)
        score = tf.reduce_max(scores, axis=1)
        reply = tf.where(score >= NEAR, tf.gather(self.replies, best), "")
        return {"reply": reply, "score": score}


def main():
    parser = argparse.ArgumentParser(description="Makes the SavedModel of small talk.")
    parser.add_argument("--pairs", type=pathlib.Path, default=HERE / "pairs.tsv")
    parser.add_argument("--output", required=True, help="a folder named after the version, such as chitchat/1")
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.pairs)
    model = SmallTalk(pairs)
    tf.saved_model.save(model, arguments.output, signatures={"serving_default": model.serve})
    replies = model.serve(tf.constant([question for question, _, _ in pairs]), tf.constant([context for _, _, context in pairs]))["reply"]
    right = sum(said.decode() == reply for said, (_, reply, _) in zip(replies.numpy(), pairs))
    print(f"{len(pairs)} pairs, {right} of them said back; {math.prod(model.questions.shape) * 4 / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
