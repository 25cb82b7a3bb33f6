/* Butterflies for processors with AVX-512: eight words at a time, the same values.
 *
 * For primes of up to 50 bits, products take the 52-bit multipliers; above, 64-bit products are put together from 32-bit ones,
 * with a quotient that may be two too low. `narrow` tells the two apart, and is a constant wherever it is used.
 */
#ifndef CONCORDAT_KERNEL_AVX512_H
#define CONCORDAT_KERNEL_AVX512_H

#include "_kernel.h"

#include <immintrin.h>

#define VECTOR __attribute__((target("avx512f,avx512dq,avx512ifma")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512dq,avx512ifma")))
#define NARROW_BITS 50

typedef __m512i words;

typedef struct {
    words q, twice;
} modulus;

INLINE words load(const uint64_t *x) { return _mm512_loadu_si512(x); }
INLINE void store(uint64_t *x, words v) { _mm512_storeu_si512(x, v); }
INLINE words all(uint64_t x) { return _mm512_set1_epi64((long long)x); }
INLINE words plus(words a, words b) { return _mm512_add_epi64(a, b); }
INLINE words minus(words a, words b) { return _mm512_sub_epi64(a, b); }
/* x, less m if x is at least m: what wraps is large */
INLINE words vless(words x, words m) { return _mm512_min_epu64(x, minus(x, m)); }
INLINE words low_half(words a) { return _mm512_and_si512(a, all(UINT32_MAX)); }

INLINE modulus modulus_of(const kernel_prime *p)
{
    return (modulus){all(p->q), all(2 * p->q)};
}

/* The upper 64 bits of a * b, or up to two less */
INLINE words about_high(words a, words b)
{
    words a1 = _mm512_srli_epi64(a, 32), b1 = _mm512_srli_epi64(b, 32);
    words middle = _mm512_srli_epi64(_mm512_mul_epu32(a, b1), 32);
    words other = _mm512_srli_epi64(_mm512_mul_epu32(a1, b), 32);
    return plus(_mm512_mul_epu32(a1, b1), plus(middle, other));
}

/* The lower 52 bits of c + a * b, and more above them */
INLINE words low52(words c, words a, words b) { return _mm512_madd52lo_epu64(c, a, b); }
INLINE words high52(words c, words a, words b) { return _mm512_madd52hi_epu64(c, a, b); }
INLINE words mask52(words a) { return _mm512_and_si512(a, all(((uint64_t)1 << 52) - 1)); }

/* w * y mod q, below 2q; y < 4q where narrow */
INLINE words times(words y, words w, words shoup, modulus m, int narrow)
{
    words zero = _mm512_setzero_si512();
    if (narrow) {
        words quotient = high52(zero, y, _mm512_srli_epi64(shoup, 12));
        return mask52(minus(low52(zero, y, w), low52(zero, quotient, m.q)));
    }
    words product = minus(_mm512_mullo_epi64(y, w), _mm512_mullo_epi64(about_high(y, shoup), m.q));
    return vless(product, m.twice);
}

INLINE void vbutterfly(words *x, words *y, words w, words shoup, modulus m, int narrow)
{
    words a = vless(*x, m.twice), b = times(*y, w, shoup, m, narrow);
    *x = plus(a, b);
    *y = plus(minus(a, b), m.twice);
}

INLINE void vunbutterfly(words *x, words *y, words w, words shoup, modulus m, int narrow)
{
    words a = *x, b = *y;
    *x = vless(plus(a, b), m.twice);
    *y = times(plus(minus(a, b), m.twice), w, shoup, m, narrow);
}

/* One pass of two levels over groups first..last of so many: quarters of each group against each other. */
INLINE void pass(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t n, size_t groups, size_t first,
                 size_t last, modulus m, int narrow)
{
    size_t quarter = n / groups / 4;
    for (size_t i = first; i < last; i++) {
        words w1 = all(w[groups + i]), s1 = all(shoup[groups + i]);
        words w2 = all(w[2 * (groups + i)]), s2 = all(shoup[2 * (groups + i)]);
        words w3 = all(w[2 * (groups + i) + 1]), s3 = all(shoup[2 * (groups + i) + 1]);
        uint64_t *y = x + i * 4 * quarter;
        for (size_t j = 0; j < quarter; j += LANE, y += LANE) {
            words a = load(y), b = load(y + quarter), c = load(y + 2 * quarter), d = load(y + 3 * quarter);
            vbutterfly(&a, &c, w1, s1, m, narrow);
            vbutterfly(&b, &d, w1, s1, m, narrow);
            vbutterfly(&a, &b, w2, s2, m, narrow);
            vbutterfly(&c, &d, w3, s3, m, narrow);
            store(y, a), store(y + quarter, b), store(y + 2 * quarter, c), store(y + 3 * quarter, d);
        }
    }
}

INLINE void unpass(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t n, size_t groups, size_t first,
                   size_t last, modulus m, int narrow)
{
    size_t quarter = n / groups / 4;
    for (size_t i = first; i < last; i++) {
        words w1 = all(w[groups + i]), s1 = all(shoup[groups + i]);
        words w2 = all(w[2 * (groups + i)]), s2 = all(shoup[2 * (groups + i)]);
        words w3 = all(w[2 * (groups + i) + 1]), s3 = all(shoup[2 * (groups + i) + 1]);
        uint64_t *y = x + i * 4 * quarter;
        for (size_t j = 0; j < quarter; j += LANE, y += LANE) {
            words a = load(y), b = load(y + quarter), c = load(y + 2 * quarter), d = load(y + 3 * quarter);
            vunbutterfly(&a, &b, w2, s2, m, narrow);
            vunbutterfly(&c, &d, w3, s3, m, narrow);
            vunbutterfly(&a, &c, w1, s1, m, narrow);
            vunbutterfly(&b, &d, w1, s1, m, narrow);
            store(y, a), store(y + quarter, b), store(y + 2 * quarter, c), store(y + 3 * quarter, d);
        }
    }
}

/* Places of sixteen words a (0..7) and b (8..15), as the four levels inside them pair them:
 * gap 4: x = 0-3 8-11, y = 4-7 12-15; gap 2: x = 01 89 45 cd, y = 23 ab 67 ef; gap 1: x = 02 8a 46 ce, y = 13 9b 57 df. */
typedef struct {
    words four, two, one, left, right;
} orders;

INLINE orders orders_of_sixteen(void)
{
    return (orders){_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1), _mm512_setr_epi64(0, 0, 2, 2, 1, 1, 3, 3),
                    _mm512_setr_epi64(0, 1, 4, 5, 2, 3, 6, 7), _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13),
                    _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15)};
}

INLINE words factors(const uint64_t *table, size_t place, words order, int half)
{
    if (half == 4)
        return _mm512_permutexvar_epi64(order, load(table + place));
    words some = half == 2 ? _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(table + place)))
                           : _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(table + place)));
    return _mm512_permutexvar_epi64(order, some);
}

INLINE void sixteens(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t groups, size_t first, size_t last,
                     modulus m, int narrow)
{
    orders o = orders_of_sixteen();
    for (size_t i = first; i < last; i++) {
        size_t g = groups + i;
        words a = load(x + 16 * i), b = load(x + 16 * i + LANE);
        vbutterfly(&a, &b, all(w[g]), all(shoup[g]), m, narrow);
        words c = _mm512_shuffle_i64x2(a, b, 0x44), d = _mm512_shuffle_i64x2(a, b, 0xEE);
        vbutterfly(&c, &d, factors(w, 2 * g, o.four, 1), factors(shoup, 2 * g, o.four, 1), m, narrow);
        a = _mm512_shuffle_i64x2(c, d, 0x88), b = _mm512_shuffle_i64x2(c, d, 0xDD);
        vbutterfly(&a, &b, factors(w, 4 * g, o.two, 2), factors(shoup, 4 * g, o.two, 2), m, narrow);
        c = _mm512_unpacklo_epi64(a, b), d = _mm512_unpackhi_epi64(a, b);
        vbutterfly(&c, &d, factors(w, 8 * g, o.one, 4), factors(shoup, 8 * g, o.one, 4), m, narrow);
        c = vless(vless(c, m.twice), m.q), d = vless(vless(d, m.twice), m.q);
        a = _mm512_unpacklo_epi64(c, d), b = _mm512_unpackhi_epi64(c, d);
        store(x + 16 * i, _mm512_permutex2var_epi64(a, o.left, b));
        store(x + 16 * i + LANE, _mm512_permutex2var_epi64(a, o.right, b));
    }
}

INLINE void unsixteens(const uint64_t *w, const uint64_t *shoup, uint64_t *x, size_t groups, size_t first, size_t last,
                       modulus m, int narrow)
{
    orders o = orders_of_sixteen();
    for (size_t i = first; i < last; i++) {
        size_t g = groups + i;
        words u = load(x + 16 * i), v = load(x + 16 * i + LANE);
        words a = _mm512_permutex2var_epi64(u, o.left, v), b = _mm512_permutex2var_epi64(u, o.right, v);
        words c = _mm512_unpacklo_epi64(a, b), d = _mm512_unpackhi_epi64(a, b);
        vunbutterfly(&c, &d, factors(w, 8 * g, o.one, 4), factors(shoup, 8 * g, o.one, 4), m, narrow);
        a = _mm512_unpacklo_epi64(c, d), b = _mm512_unpackhi_epi64(c, d);
        vunbutterfly(&a, &b, factors(w, 4 * g, o.two, 2), factors(shoup, 4 * g, o.two, 2), m, narrow);
        u = _mm512_shuffle_i64x2(a, b, 0x44), v = _mm512_shuffle_i64x2(a, b, 0xEE);
        c = _mm512_shuffle_i64x2(u, u, 0xD8), d = _mm512_shuffle_i64x2(v, v, 0xD8);
        vunbutterfly(&c, &d, factors(w, 2 * g, o.four, 1), factors(shoup, 2 * g, o.four, 1), m, narrow);
        a = _mm512_shuffle_i64x2(c, d, 0x44), b = _mm512_shuffle_i64x2(c, d, 0xEE);
        vunbutterfly(&a, &b, all(w[g]), all(shoup[g]), m, narrow);
        store(x + 16 * i, a), store(x + 16 * i + LANE, b);
    }
}

#endif
