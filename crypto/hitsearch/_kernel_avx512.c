/* The kernel's operations for processors with AVX-512: eight words at a time, the same values. */
#include "_kernel.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include "_kernel_avx512.h"

/* Groups of at most this many words are finished before the next is begun: they fit the first cache. */
#define NEAR_WORDS ((size_t)1024)

INLINE void forward_as(const kernel_prime *p, uint64_t *x, int narrow)
{
    const uint64_t *w = table_of(p, ROOTS), *shoup = table_of(p, ROOTS_SHOUP);
    size_t n = (size_t)1 << p->log_n, groups = 1;
    modulus m = modulus_of(p);
    if (p->log_n % 2) {
        words w1 = all(w[1]), s1 = all(shoup[1]);
        for (size_t j = 0; j < n / 2; j += LANE) {
            words a = load(x + j), b = load(x + n / 2 + j);
            vbutterfly(&a, &b, w1, s1, m, narrow);
            store(x + j, a), store(x + n / 2 + j, b);
        }
        groups = 2;
    }
    for (; n / groups > NEAR_WORDS; groups *= 4)
        pass(w, shoup, x, n, groups, 0, groups, m, narrow);
    for (size_t g = 0; g < groups; g++) {
        size_t inner = groups, count = 1;
        for (; n / inner > 16; inner *= 4, count *= 4)
            pass(w, shoup, x, n, inner, g * count, (g + 1) * count, m, narrow);
        sixteens(w, shoup, x, inner, g * count, (g + 1) * count, m, narrow);
    }
}

INLINE void inverse_as(const kernel_prime *p, uint64_t *x, int narrow)
{
    const uint64_t *w = table_of(p, INVERSES), *shoup = table_of(p, INVERSES_SHOUP);
    size_t n = (size_t)1 << p->log_n, groups = n / 16;
    modulus m = modulus_of(p);
    unsixteens(w, shoup, x, groups, 0, groups, m, narrow);
    for (groups /= 4; groups >= 1; groups /= 4) {
        unpass(w, shoup, x, n, groups, 0, groups, m, narrow);
    }
    if (p->log_n % 2) {
        words w1 = all(w[1]), s1 = all(shoup[1]);
        for (size_t j = 0; j < n / 2; j += LANE) {
            words a = load(x + j), b = load(x + n / 2 + j);
            vunbutterfly(&a, &b, w1, s1, m, narrow);
            store(x + j, a), store(x + n / 2 + j, b);
        }
    }
    words scale = all(p->n_inverse), scale_shoup = all(p->n_inverse_shoup);
    for (size_t j = 0; j < n; j += LANE)
        store(x + j, vless(times(load(x + j), scale, scale_shoup, m, narrow), m.q));
}

static VECTOR void forward_narrow(const kernel_prime *p, uint64_t *x) { forward_as(p, x, 1); }
static VECTOR void forward_broad(const kernel_prime *p, uint64_t *x) { forward_as(p, x, 0); }
static VECTOR void inverse_narrow(const kernel_prime *p, uint64_t *x) { inverse_as(p, x, 1); }
static VECTOR void inverse_broad(const kernel_prime *p, uint64_t *x) { inverse_as(p, x, 0); }

static void forward(const kernel_prime *p, uint64_t *x)
{
    if (p->log_n < 6)
        kernel_portable.forward(p, x);
    else if (p->bits <= NARROW_BITS)
        forward_narrow(p, x);
    else
        forward_broad(p, x);
}

static void inverse(const kernel_prime *p, uint64_t *x)
{
    if (p->log_n < 6)
        kernel_portable.inverse(p, x);
    else if (p->bits <= NARROW_BITS)
        inverse_narrow(p, x);
    else
        inverse_broad(p, x);
}

/* low + high * 2^52 mod q, for high < 2^52 - 2^11 and low < 2^63 */
INLINE words fold(const kernel_prime *p, words low, words high, modulus m)
{
    words zero = _mm512_setzero_si512();
    high = plus(high, _mm512_srli_epi64(low, 52));
    low = mask52(low);
    words quotient = high52(zero, high, all(p->fold_shoup));
    words upper = mask52(minus(low52(zero, high, all(p->fold)), low52(zero, quotient, m.q)));
    words rest = minus(low, low52(zero, high52(zero, low, all(p->ratio_high >> 12)), m.q));
    return vless(vless(plus(upper, rest), m.twice), m.q);
}

static VECTOR void sums_narrow(const kernel_prime *p, const kernel_sums *s)
{
    modulus m = modulus_of(p);
    for (size_t v = 0; v < s->vectors; v++) {
        const uint64_t *a = s->a + v * s->a_vector;
        const uint64_t *b = s->b[0] + v * s->b_vector, *c = s->b[1] + v * s->b_vector;
        words low0 = _mm512_setzero_si512(), high0 = low0, low1 = low0, high1 = low0;
        for (size_t i = 0; i < s->count; i++) {
            words x = load(a + i * s->a_term), y = load(b + i * s->b_term), z = load(c + i * s->b_term);
            low0 = low52(low0, x, y), high0 = high52(high0, x, y);
            low1 = low52(low1, x, z), high1 = high52(high1, x, z);
        }
        store(s->out[0] + v * s->out_vector, fold(p, low0, high0, m));
        store(s->out[1] + v * s->out_vector, fold(p, low1, high1, m));
    }
}

/* Sums of up to sixteen products of two words in limbs of 30 bits: each of the four sums fits 64 bits. */
typedef struct {
    words low, middle, other, high;
} limbs;

INLINE void add_product(limbs *sum, words x0, words x1, words y)
{
    words y0 = _mm512_and_si512(y, all((1 << 30) - 1)), y1 = _mm512_srli_epi64(y, 30);
    sum->low = plus(sum->low, _mm512_mul_epu32(x0, y0));
    sum->middle = plus(sum->middle, _mm512_mul_epu32(x0, y1));
    sum->other = plus(sum->other, _mm512_mul_epu32(x1, y0));
    sum->high = plus(sum->high, _mm512_mul_epu32(x1, y1));
}

INLINE words join(const kernel_prime *p, limbs sum, modulus m)
{
    words first = minus(sum.low, _mm512_mullo_epi64(about_high(sum.low, all(p->ratio_high)), m.q));
    words w = all(p->limb[0]), shoup = all(p->limb_shoup[0]);
    words total = plus(vless(first, m.twice), times(sum.middle, w, shoup, m, 0));
    total = plus(total, times(sum.other, w, shoup, m, 0));
    total = plus(total, times(sum.high, all(p->limb[1]), all(p->limb_shoup[1]), m, 0));
    return vless(vless(vless(total, plus(m.twice, m.twice)), m.twice), m.q);
}

static VECTOR void sums_broad(const kernel_prime *p, const kernel_sums *s)
{
    modulus m = modulus_of(p);
    for (size_t v = 0; v < s->vectors; v++) {
        const uint64_t *a = s->a + v * s->a_vector;
        const uint64_t *b = s->b[0] + v * s->b_vector, *c = s->b[1] + v * s->b_vector;
        words total0 = _mm512_setzero_si512(), total1 = total0;
        for (size_t i = 0; i < s->count;) {
            words zero = _mm512_setzero_si512();
            limbs sum0 = {zero, zero, zero, zero}, sum1 = sum0;
            for (size_t last = i + 16; i < s->count && i < last; i++) {
                words x = load(a + i * s->a_term), x0 = _mm512_and_si512(x, all((1 << 30) - 1));
                add_product(&sum0, x0, _mm512_srli_epi64(x, 30), load(b + i * s->b_term));
                add_product(&sum1, x0, _mm512_srli_epi64(x, 30), load(c + i * s->b_term));
            }
            total0 = vless(plus(total0, join(p, sum0, m)), m.q);
            total1 = vless(plus(total1, join(p, sum1, m)), m.q);
        }
        store(s->out[0] + v * s->out_vector, total0);
        store(s->out[1] + v * s->out_vector, total1);
    }
}

static void sums(const kernel_prime *p, const kernel_sums *s)
{
    uint64_t bits = 2 * p->bits;
    for (size_t count = 1; count < s->count; count *= 2)
        bits++;
    if (bits < 104) /* the upper halves, with what the lower ones carry, then stay below 2^52 */
        sums_narrow(p, s);
    else
        sums_broad(p, s);
}

static VECTOR void reduce(const kernel_prime *p, const uint64_t *x, uint64_t *out)
{
    words q = all(p->q), ratio = all(p->ratio_high);
    for (size_t j = 0; j < (size_t)1 << p->log_n; j += LANE) {
        words v = load(x + j);
        store(out + j, minus(v, _mm512_mullo_epi64(about_high(v, ratio), q)));
    }
}

static VECTOR void lift(const kernel_prime *p, const int32_t *x, uint64_t *out)
{
    words q = all(p->q);
    for (size_t j = 0; j < (size_t)1 << p->log_n; j += LANE) {
        words v = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(x + j)));
        store(out + j, _mm512_mask_add_epi64(v, _mm512_movepi64_mask(v), v, q));
    }
}

static VECTOR void negate(const kernel_prime *t, const uint64_t *x, uint64_t *out)
{
    modulus m = modulus_of(t);
    words ratio = all(t->ratio_high);
    for (size_t j = 0; j < (size_t)1 << t->log_n; j += LANE) {
        words v = load(x + j);
        v = minus(v, _mm512_mullo_epi64(about_high(v, ratio), m.q));
        v = vless(vless(v, m.twice), m.q);
        store(out + j, vless(minus(m.q, v), m.q));
    }
}

static VECTOR void delta(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *k,
                         uint64_t *out)
{
    modulus m = modulus_of(p);
    words ratio = all(p->ratio_high), w = all(d->divisor), shoup = all(d->divisor_shoup);
    for (size_t j = 0; j < (size_t)1 << p->log_n; j += LANE) {
        words v = load(x + j);
        v = vless(minus(v, _mm512_mullo_epi64(about_high(v, ratio), m.q)), m.twice);
        store(out + j, plus(v, times(load(k + j), w, shoup, m, 0)));
    }
}

INLINE void finish_as(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *y,
                      const uint64_t *first, const uint64_t *second, uint64_t *out, int narrow)
{
    modulus m = modulus_of(p);
    words w = all(d->inverse), shoup = all(d->inverse_shoup);
    for (size_t j = 0; j < (size_t)1 << p->log_n; j += LANE) {
        words v = plus(load(x + j), minus(m.q, load(y + j)));
        v = vless(times(v, w, shoup, m, narrow), m.q);
        if (first)
            v = vless(plus(v, load(first + j)), m.q);
        if (second)
            v = vless(plus(v, load(second + j)), m.q);
        store(out + j, v);
    }
}

static VECTOR void finish(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *y,
                          const uint64_t *first, const uint64_t *second, uint64_t *out)
{
    if (p->bits <= NARROW_BITS)
        finish_as(p, d, x, y, first, second, out, 1);
    else
        finish_as(p, d, x, y, first, second, out, 0);
}

static VECTOR void add(const kernel_prime *p, uint64_t *x, const uint64_t *y)
{
    words q = all(p->q);
    for (size_t j = 0; j < (size_t)1 << p->log_n; j += LANE)
        store(x + j, vless(plus(load(x + j), load(y + j)), q));
}

static const kernel_operations avx512 = {forward, inverse, sums, reduce, lift, negate, delta, finish, add};

const kernel_operations *kernel_avx512(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512ifma"))
        return &avx512;
    return NULL;
}
#else
const kernel_operations *kernel_avx512(void) { return NULL; }
#endif
