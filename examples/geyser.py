"""Old Faithful in time: a GMM-HMM, and a hidden Markov model with emissions of mixed types.

The 272 eruptions follow one another, and after a short one there is nearly always a long one:
what a mixture cannot see, a chain can. BIC prefers the chain, and one Gaussian a state to two.

python examples/geyser.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import likelax as lx


def main() -> None:
    data = lx.datasets.faithful()
    both = np.stack([data.eruption, data.waiting], axis=1).astype(np.float32)

    # k-means tells two kinds of eruption apart; labels and a prior make the start
    scaled = (both - both.mean(0)) / both.std(0)
    labels, _ = lx.fit.kmeans(jax.random.key(0), scaled, 2)
    shape = lx.HMM(
        jnp.full(2, 0.5),
        jnp.full((2, 2), 0.5),
        lx.MvNormal(jnp.zeros((2, 2)), jnp.stack([jnp.eye(2)] * 2)),
    )
    flat = lx.HMMPrior(lx.Dirichlet(jnp.full(2, 2.0)), lx.Dirichlet(jnp.full((2, 2), 2.0)))
    one = lx.fit.em(lx.fit.from_labels(shape, both, labels, flat), both)

    # a GMM-HMM: in each state two Gaussians, begun at either side of the state's own
    gauss = one.model.emissions
    spread = 0.7 * jnp.einsum("kij,j->ki", gauss.scale_tril, jnp.ones(2))
    pair = lx.MvNormal(
        jnp.stack([gauss.loc - spread, gauss.loc + spread], axis=1),
        jnp.stack([gauss.scale_tril] * 2, axis=1),
    )
    gmm = lx.HMM(one.model.initial, one.model.transition, lx.Mixture(jnp.full((2, 2), 0.5), pair))
    two = lx.fit.em(gmm, both)

    # the same chains without memory are mixtures
    alone = lx.fit.em(lx.Mixture(jnp.full(2, 0.5), gauss), both)
    print("model                     log likelihood      BIC")
    for name, fit in (("mixture", alone), ("Gaussian HMM", one), ("GMM-HMM", two)):
        bic = lx.fit.bic(fit.model, both)
        print(f"{name:25s} {fit.objective:14.2f}  {bic:7.1f}")

    # how many kinds of eruption? likelihood ratios beside those of data that the smaller model made
    def begin(key, x, size):
        return lx.fit.at_points(key, x, 3, size)

    print("\nkinds of eruption, one against more by a parametric bootstrap:")
    for sizes in ((1, 2), (2, 3)):
        test = lx.fit.bootstrap_test(
            jax.random.key(1), begin, scaled, sizes=sizes, num_restarts=5, num_replicates=39
        )
        print(f"  {sizes[0]} or {sizes[1]}: ratio {test.statistic:6.1f}, p = {test.p_value:.3f}")

    # variational Bayes with six states keeps those that it needs
    wide = lx.NormalInverseWishart(
        jnp.zeros((6, 2)), jnp.full(6, 0.1), jnp.full(6, 4.0), jnp.stack([jnp.eye(2)] * 6)
    )
    few = lx.HMMPrior(lx.Dirichlet(jnp.full(6, 0.1)), lx.Dirichlet(jnp.full((6, 6), 0.1)), wide)
    far = lx.NormalInverseWishart(
        jnp.asarray(scaled[:: len(scaled) // 6][:6]), wide.kappa, wide.dof, wide.scale
    )
    likelihood = lx.MvNormal(jnp.zeros((6, 2)), jnp.stack([jnp.eye(2)] * 6))
    node = lx.VariationalHMM(few.initial, few.transition, lx.Variational(far, likelihood))
    found = lx.fit.em(node, scaled, prior=few)
    used = jnp.exp(found.model.smoother(scaled).log_marginals).sum(axis=0)
    print(
        f"\nof six states variational Bayes uses {int((used > 1).sum())}, ELBO {found.objective:.1f}"
    )

    order = jnp.argsort(one.model.emissions.loc[:, 0])
    model = lx.hmm.relabel(one.model, order)
    print("\nafter a short eruption comes a long one with probability", end=" ")
    print(f"{model.transition[0, 1]:.3f}, after a long one {model.transition[1, 1]:.3f}")

    # emissions of mixed types: whether the eruption was long, and the wait in minutes
    mixed = {"long": data.eruption > 3, "waiting": data.waiting.astype(np.float32)}
    each = lx.Product(
        {
            "long": lx.Bernoulli(jnp.array([0.2, 0.8])),
            "waiting": lx.Normal(jnp.array([55.0, 80.0]), jnp.full(2, 6.0)),
        }
    )
    start = lx.HMM(jnp.full(2, 0.5), jnp.array([[0.1, 0.9], [0.5, 0.5]]), each)
    fit = lx.fit.em(start, mixed)
    print(
        f"\nmixed emissions: log likelihood {fit.objective:.2f}, status {lx.fit.Status(int(fit.status)).name}"
    )
    chance = jnp.exp(fit.model.forecast(mixed, 1))[0]
    ahead = lx.Mixture(chance, fit.model.emissions)
    long = {"long": jnp.array([True]), "waiting": jnp.array([70.0])}
    seen = {"long": jnp.array([True]), "waiting": jnp.array([False])}
    print(
        f"the next eruption is long with probability {jnp.exp(ahead.log_prob(lx.Masked(long, seen)))[0]:.2f}"
    )


if __name__ == "__main__":
    main()
