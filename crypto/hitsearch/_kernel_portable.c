/* The kernel's operations in plain C: the reference that the others must equal, and what runs where they cannot. */
#include "_kernel.h"

/* Harvey's butterfly: x, y < 4q; both results < 4q */
static inline void butterfly(uint64_t *x, uint64_t *y, uint64_t w, uint64_t w_shoup, uint64_t q)
{
    uint64_t a = less(*x, 2 * q), b = times_shoup(*y, w, w_shoup, q);
    *x = a + b;
    *y = a - b + 2 * q;
}

/* The inverse one: x, y < 2q; both results < 2q */
static inline void unbutterfly(uint64_t *x, uint64_t *y, uint64_t w, uint64_t w_shoup, uint64_t q)
{
    uint64_t a = *x, b = *y;
    *x = less(a + b, 2 * q);
    *y = times_shoup(a - b + 2 * q, w, w_shoup, q);
}

/* Two levels at once over all groups of so many: quarters of each group against each other. */
static inline void pass(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t n, size_t groups, uint64_t q)
{
    size_t quarter = n / groups / 4;
    for (size_t g = groups; g < 2 * groups; g++, x += 4 * quarter)
        for (size_t j = 0; j < quarter; j++) {
            uint64_t a = x[j], b = x[j + quarter], c = x[j + 2 * quarter], d = x[j + 3 * quarter];
            butterfly(&a, &c, w[g], shoup[g], q);
            butterfly(&b, &d, w[g], shoup[g], q);
            butterfly(&a, &b, w[2 * g], shoup[2 * g], q);
            butterfly(&c, &d, w[2 * g + 1], shoup[2 * g + 1], q);
            x[j] = a, x[j + quarter] = b, x[j + 2 * quarter] = c, x[j + 3 * quarter] = d;
        }
}

static inline void unpass(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t n, size_t groups, uint64_t q)
{
    size_t quarter = n / groups / 4;
    for (size_t g = groups; g < 2 * groups; g++, x += 4 * quarter)
        for (size_t j = 0; j < quarter; j++) {
            uint64_t a = x[j], b = x[j + quarter], c = x[j + 2 * quarter], d = x[j + 3 * quarter];
            unbutterfly(&a, &b, w[2 * g], shoup[2 * g], q);
            unbutterfly(&c, &d, w[2 * g + 1], shoup[2 * g + 1], q);
            unbutterfly(&a, &c, w[g], shoup[g], q);
            unbutterfly(&b, &d, w[g], shoup[g], q);
            x[j] = a, x[j + quarter] = b, x[j + 2 * quarter] = c, x[j + 3 * quarter] = d;
        }
}

static void forward(const kernel_prime *p, uint64_t *x)
{
    const uint64_t *w = table_of(p, ROOTS), *shoup = table_of(p, ROOTS_SHOUP);
    size_t n = (size_t)1 << p->log_n, groups = 1;
    uint64_t q = p->q;
    if (p->log_n % 2) {
        for (size_t j = 0; j < n / 2; j++)
            butterfly(x + j, x + n / 2 + j, w[1], shoup[1], q);
        groups = 2;
    }
    for (; groups < n / 4; groups *= 4)
        pass(w, shoup, x, n, groups, q);
    pass(w, shoup, x, n, n / 4, q); /* the compiler sees that its quarters are single words */
    for (size_t j = 0; j < n; j++)
        x[j] = less(less(x[j], 2 * q), q);
}

static void inverse(const kernel_prime *p, uint64_t *x)
{
    const uint64_t *w = table_of(p, INVERSES), *shoup = table_of(p, INVERSES_SHOUP);
    size_t n = (size_t)1 << p->log_n;
    uint64_t q = p->q;
    for (size_t groups = n / 4; groups >= 1; groups /= 4)
        unpass(w, shoup, x, n, groups, q);
    if (p->log_n % 2)
        for (size_t j = 0; j < n / 2; j++)
            unbutterfly(x + j, x + n / 2 + j, w[1], shoup[1], q);
    for (size_t j = 0; j < n; j++)
        x[j] = less(times_shoup(x[j], p->n_inverse, p->n_inverse_shoup, q), q);
}

/* Products are below 2^122, so 64 of them fit; the caller allows no more. */
static void sums(const kernel_prime *p, const kernel_sums *s)
{
    for (size_t v = 0; v < s->vectors; v++)
        for (size_t lane = 0; lane < LANE; lane++) {
            const uint64_t *a = s->a + v * s->a_vector + lane;
            const uint64_t *b = s->b[0] + v * s->b_vector + lane, *c = s->b[1] + v * s->b_vector + lane;
            kernel_wide first = 0, second = 0;
            for (size_t i = 0; i < s->count; i++) {
                first += (kernel_wide)a[i * s->a_term] * b[i * s->b_term];
                second += (kernel_wide)a[i * s->a_term] * c[i * s->b_term];
            }
            s->out[0][v * s->out_vector + lane] = reduce_wide(p, first);
            s->out[1][v * s->out_vector + lane] = reduce_wide(p, second);
        }
}

static void reduce(const kernel_prime *p, const uint64_t *x, uint64_t *out)
{
    for (size_t j = 0; j < (size_t)1 << p->log_n; j++)
        out[j] = x[j] - high_of(x[j], p->ratio_high) * p->q;
}

static void lift(const kernel_prime *p, const int32_t *x, uint64_t *out)
{
    for (size_t j = 0; j < (size_t)1 << p->log_n; j++)
        out[j] = (uint64_t)(int64_t)x[j] + (x[j] < 0 ? p->q : 0);
}

static void negate(const kernel_prime *t, const uint64_t *x, uint64_t *out)
{
    for (size_t j = 0; j < (size_t)1 << t->log_n; j++) {
        uint64_t rest = less(x[j] - high_of(x[j], t->ratio_high) * t->q, t->q);
        out[j] = rest ? t->q - rest : 0;
    }
}

static void delta(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *k, uint64_t *out)
{
    for (size_t j = 0; j < (size_t)1 << p->log_n; j++)
        out[j] = x[j] - high_of(x[j], p->ratio_high) * p->q + times_shoup(k[j], d->divisor, d->divisor_shoup, p->q);
}

static void finish(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *y,
                   const uint64_t *first, const uint64_t *second, uint64_t *out)
{
    uint64_t q = p->q;
    for (size_t j = 0; j < (size_t)1 << p->log_n; j++) {
        uint64_t value = less(times_shoup(x[j] + q - y[j], d->inverse, d->inverse_shoup, q), q);
        if (first)
            value = less(value + first[j], q);
        if (second)
            value = less(value + second[j], q);
        out[j] = value;
    }
}

static void add(const kernel_prime *p, uint64_t *x, const uint64_t *y)
{
    for (size_t j = 0; j < (size_t)1 << p->log_n; j++)
        x[j] = less(x[j] + y[j], p->q);
}

const kernel_operations kernel_portable = {forward, inverse, sums, reduce, lift, negate, delta, finish, add};
