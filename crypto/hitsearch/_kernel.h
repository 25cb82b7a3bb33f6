/* Word arithmetic of the encrypted search: what the files of the kernel share.
 *
 * Every function computes values that are defined modulo a prime, and gives them fully reduced: there is one right
 * result, and it is the one that SEAL gives. Nothing is allocated here; the caller checks every length.
 * Source: specs/kernel.md.
 */
#ifndef CONCORDAT_KERNEL_H
#define CONCORDAT_KERNEL_H

#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 kernel_wide;

/* Words that are kept together wherever an order of words is ours to choose: one line of the cache. */
#define LANE ((size_t)8)

/* A prime below 2^61 that is 1 modulo 2N, and its tables: N words each of the powers of the root, their Shoup
 * quotients floor(w * 2^64 / q), the inverse powers and theirs; power i stands at place reverse(i). */
typedef struct {
    uint64_t q;
    uint64_t ratio_high, ratio_low;         /* floor(2^128 / q) */
    uint64_t n_inverse, n_inverse_shoup;    /* 1 / N */
    uint64_t fold, fold_shoup;              /* 2^52 mod q; floor(fold * 2^52 / q) */
    uint64_t limb[2], limb_shoup[2];        /* 2^30 and 2^60 mod q, and their quotients by 2^64 */
    uint64_t bits;                          /* of q */
    uint64_t log_n;
    uint64_t spare[3];
} kernel_prime;

enum { ROOTS, ROOTS_SHOUP, INVERSES, INVERSES_SHOUP, TABLES };

static inline const uint64_t *table_of(const kernel_prime *p, int which)
{
    return (const uint64_t *)(p + 1) + ((size_t)which << p->log_n);
}

/* Division by a prime that is dropped, seen from a prime that is kept. */
typedef struct {
    uint64_t divisor, divisor_shoup; /* the dropped prime modulo the kept one */
    uint64_t inverse, inverse_shoup; /* one over it */
} kernel_drop;

/* Sums of products: for v < vectors and both b, out[v] = sum over i < count of a[v][i] * b[v][i], eight words each. */
typedef struct {
    size_t vectors, count;
    size_t a_vector, a_term, b_vector, b_term, out_vector; /* distances in words */
    const uint64_t *a, *b[2];
    uint64_t *out[2];
} kernel_sums;

typedef struct {
    void (*forward)(const kernel_prime *p, uint64_t *x);  /* x < 4q, any order of reduction; result < q */
    void (*inverse)(const kernel_prime *p, uint64_t *x);  /* x < 2q */
    void (*sums)(const kernel_prime *p, const kernel_sums *s);
    void (*reduce)(const kernel_prime *p, const uint64_t *x, uint64_t *out);   /* any x; result < 4q */
    void (*lift)(const kernel_prime *p, const int32_t *x, uint64_t *out);      /* signed small numbers */
    void (*negate)(const kernel_prime *t, const uint64_t *x, uint64_t *out);   /* -x mod t, for any x */
    /* (x + k * divisor) mod q, below 4q */
    void (*delta)(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *k, uint64_t *out);
    /* out = (x - y) * inverse (+ first) (+ second), all below q */
    void (*finish)(const kernel_prime *p, const kernel_drop *d, const uint64_t *x, const uint64_t *y,
                   const uint64_t *first, const uint64_t *second, uint64_t *out);
    void (*add)(const kernel_prime *p, uint64_t *x, const uint64_t *y);        /* x += y, all below q */
} kernel_operations;

extern const kernel_operations kernel_portable;
extern const kernel_operations *kernel_use; /* what runs */
const kernel_operations *kernel_avx512(void); /* NULL where the processor or the compiler has it not */

static inline size_t degree_of(const kernel_prime *p) { return (size_t)1 << p->log_n; }
/* Distance of two rows of a scratch area: equal places of several rows must not meet in one set of a cache. */
static inline size_t width_of(const kernel_prime *p) { return degree_of(p) + 8 * LANE; }

static inline const kernel_prime *row(const kernel_prime *rows, size_t i)
{
    size_t bytes = sizeof(kernel_prime) + TABLES * degree_of(rows) * sizeof(uint64_t);
    return (const kernel_prime *)(const void *)((const char *)rows + i * bytes);
}

static inline uint64_t high_of(uint64_t a, uint64_t b)
{
    return (uint64_t)(((kernel_wide)a * b) >> 64);
}

/* w * y mod q, below 2q, for any y */
static inline uint64_t times_shoup(uint64_t y, uint64_t w, uint64_t w_shoup, uint64_t q)
{
    return w * y - high_of(w_shoup, y) * q;
}

/* x, less m if x is at least m */
static inline uint64_t less(uint64_t x, uint64_t m)
{
    return x >= m ? x - m : x;
}

/* v mod q for any v: the quotient is estimated at most two too low */
static inline uint64_t reduce_wide(const kernel_prime *p, kernel_wide v)
{
    uint64_t low = (uint64_t)v, high = (uint64_t)(v >> 64), q = p->q;
    kernel_wide middle = (kernel_wide)low * p->ratio_high + high_of(low, p->ratio_low);
    kernel_wide other = (kernel_wide)high * p->ratio_low + (uint64_t)middle;
    uint64_t quotient = high * p->ratio_high + (uint64_t)(middle >> 64) + (uint64_t)(other >> 64);
    return less(less(low - quotient * q, 2 * q), q);
}

#endif
