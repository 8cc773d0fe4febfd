"""Ranking all products for all users, batch by batch and all users at once: peak memory and time.

    python benchmarks/recommender.py

Each way runs in a process of its own, in turn, with an untrained Transformer over 20,000 products and random
histories: neither memory nor time depends on what was learned. In batches memory stays where it is when there are more
users; all at once it grows with users times products.
"""

import multiprocessing
import resource
import time

import numpy as np

from layerwise.study.config import Parameters
from layerwise.study.models import recommender

PRODUCTS, BATCH, USERS = 20_000, 128, (1000, 4000)


def rank(users: int, batch_size: int, results) -> None:
    draw = np.random.default_rng(0)
    histories = [draw.choice(PRODUCTS, 30, replace=False) + 1 for _ in range(users)]
    parameters = Parameters(recommender_layers=2, recommender_hidden_size=32).for_the_recommender()
    model = recommender.build_recommender(parameters, histories, PRODUCTS)
    batches = recommender.make_batches(recommender.hold_out(histories, 1, parameters.max_length), batch_size)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = recommender.evaluate_recommender(recommender.as_recommender(model), batches)
    taken = time.perf_counter() - start
    results.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, taken, found.sum()))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for users in USERS:
        found = {}
        for way, size in (("in batches", BATCH), ("all at once", users)):
            results = context.Queue()
            process = context.Process(target=rank, args=(users, size, results))
            process.start()
            found[way] = results.get()
            process.join()
        (small, quick, one), (large, slow, other) = found.values()
        assert np.isclose(one, other), "both ways rank alike"
        print(
            f"{users:,} users, {PRODUCTS:,} products: {small / 1024:,.0f} MB, {quick:.1f} s in batches of {BATCH}; "
            f"{large / 1024:,.0f} MB, {slow:.1f} s all at once: {large / small:.1f} times the memory"
        )
