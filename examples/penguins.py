"""Penguins: two groups found from bills alone, and what makes a bird one of them; sets of species for
birds that are caught in other shares.

The groups are fitted first and then regressed on body mass. A regression on the groups themselves would
be flattened by the birds that are assigned wrongly; the three-step estimators know how many they are.
Conformal sets of species hold their promise for other birds once those are weighted by the shift.

python examples/penguins.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx


def main() -> None:
    data = lx.datasets.penguins()
    known = ~np.isnan(data.body_mass)
    depth = ((data.bill_depth - np.nanmean(data.bill_depth)) / np.nanstd(data.bill_depth))[known]
    mass = ((data.body_mass - np.nanmean(data.body_mass)) / 500)[known]

    start = lx.Mixture(jnp.array([0.5, 0.5]), lx.Normal(jnp.array([-1.0, 1.0]), jnp.ones(2)))
    x = jnp.asarray(depth, jnp.float32)
    groups = lx.fit.em(start, x).model
    wrong = lx.fit.assignments(groups, x).probs
    print(f"two groups by the depth of the bill, {wrong[0, 1]:.0%} and {wrong[1, 0]:.0%} ", end="")
    print("of their birds assigned to the other")
    inputs = jnp.stack([jnp.ones(len(mass)), jnp.asarray(mass, jnp.float32)], axis=1)
    assigned = groups.predict(x).astype(jnp.float32)
    naive = lx.fit.em(lx.LogisticRegression(jnp.zeros(2)), (inputs, assigned)).model
    print("log odds of the deep-billed group for 500 g more:")
    print(f"  {'assigned birds as if known':28s} {naive.coefficients[1]:6.2f}")
    for name, method in (("BCH", lx.fit.three_step_bch), ("ML", lx.fit.three_step_ml)):
        found = method(groups, x, inputs)
        slopes = found.regression.coefficients[1]
        print(f"  {'three steps, ' + name:28s} {slopes[1] - slopes[0]:6.2f}")

    # and the other way round: how heavy are the birds of a group, had none been assigned wrongly?
    grams = 500 * jnp.asarray(mass, jnp.float32) + float(np.nanmean(data.body_mass))
    later = lx.Normal(jnp.zeros(2), jnp.ones(2))
    apart = lx.fit.three_step_distal_bch(groups, x, later, grams).outcome.loc
    plain = [grams[assigned == k].mean() for k in range(2)]
    print("body mass, of the assigned birds and corrected:")
    for k, name in enumerate(("shallow bills", "deep bills")):
        print(f"  {name:28s} {plain[k]:6.0f} {apart[k]:6.0f} g")

    # how many groups hold for birds that were not seen? All ten folds are fitted as one batch
    print("\ngroups    log score of birds not seen, by ten folds")
    for size in (1, 2, 3):
        begin = lx.Mixture(
            jnp.full(size, 1 / size), lx.Normal(jnp.linspace(-1.0, 1.0, size), jnp.ones(size))
        )
        folds = lx.predictive.k_fold(
            jax.random.key(0),
            lambda weights, begin=begin: lx.fit.em(begin, x, weights=weights).model,
            lambda fitted: fitted.log_prob(x),
            num_rows=len(x),
        )
        print(f"  {size}     {folds.value:10.2f} +- {folds.standard_error:.2f}")

    # sets of species: birds with deep bills are caught more often next year, in 20 simulated ones
    species, number = data.species[known], int(known.sum())
    ratio = np.exp(1.5 * depth)
    inputs = jnp.stack([jnp.ones(number), x], axis=1)
    start = lx.SoftmaxRegression(jnp.zeros((2, 3)))
    learn, judge = np.split(np.random.default_rng(1).permutation(number), 2)
    fitted = lx.fit.em(start, (inputs[learn], jnp.asarray(species[learn]))).model
    probs = jax.nn.softmax(jnp.matmul(inputs[judge], fitted.coefficients), axis=-1)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == species[judge]
    bins = lx.calibration.bin_statistics(confidence, right, num_bins=5)
    print(f"\nthe species by the bill: {right.mean():.0%} right, with confidence ", end="")
    print(f"{confidence.mean():.0%}; calibration errors {lx.calibration.ece(bins):.3f} on average,")
    print(f"{lx.calibration.lp_error(bins, 3.0):.3f} with weight on the worst bins, ", end="")
    print(f"{lx.calibration.ks_error(confidence, right):.3f} without bins")
    # the rarest species has a fifth of the birds: let each count the same
    each = lx.calibration.balanced_class_weights(species[judge], 3)
    weights = lx.calibration.row_weights(species[judge], each)
    bins = lx.calibration.bin_statistics(confidence, right, num_bins=5, weights=weights)
    share = jnp.where(right, weights, 0).sum() / weights.sum()
    print(f"with species of one weight {share:.0%} are right, and the first error is ", end="")
    print(f"{lx.calibration.ece(bins):.3f}")
    held = {"as if nothing had changed": [], "weighted by the shift": []}
    rng = np.random.default_rng(0)
    for _ in range(20):
        learn, judge, rest = np.split(rng.permutation(number), [number // 3, 2 * number // 3])
        new = rng.choice(rest, 100, p=ratio[rest] / ratio[rest].sum())
        fitted = lx.fit.em(start, (inputs[learn], jnp.asarray(species[learn]))).model
        probs = jax.nn.softmax(jnp.matmul(inputs, fitted.coefficients), axis=-1)
        shift = {"weights": ratio[judge], "new_weights": ratio[new]}
        for name, options in zip(held, ({}, shift), strict=True):
            rule = lx.calibration.fit_conformal_sets(
                probs[judge], species[judge], mass=0.7, **options
            )
            sets = np.asarray(rule.sets(probs[new]))
            held[name].append((sets[np.arange(100), species[new]].mean(), sets.sum(1).mean()))
    print("\nsets of species that hold the true one for 70% of the birds of next year:")
    for name, pairs in held.items():
        share, size = np.mean(pairs, axis=0)
        print(f"  {name:28s} hold it for {share:.0%}, {size:.1f} species a set")


if __name__ == "__main__":
    main()
