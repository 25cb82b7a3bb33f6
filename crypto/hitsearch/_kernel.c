/* Entry points of the kernel: tables, transforms, encoded blocks, and sums of products with rotated probes.
 *
 * Orders of words. A polynomial: N words in SEAL's order. A ciphertext: c0 prime by prime, then c1. A block:
 * [prime][line][giant step][baby step][8]; the rotations of a probe: [prime][line][half][baby step][8].
 */
#include "_kernel.h"

#include <string.h>

#ifndef KERNEL_SOURCE
#define KERNEL_SOURCE "unknown"
#endif

const kernel_operations *kernel_use = &kernel_portable;

/* What the sources were when this was built. */
const char *concordat_source(void) { return KERNEL_SOURCE; }

/* Choose the plain operations (0) or the best that the processor has (1). */
void concordat_choose(int best)
{
    const kernel_operations *other = best ? kernel_avx512() : NULL;
    kernel_use = other ? other : &kernel_portable;
}

const char *concordat_running(void) { return kernel_use == &kernel_portable ? "portable" : "AVX-512"; }

size_t concordat_prime_bytes(uint64_t log_n)
{
    return sizeof(kernel_prime) + TABLES * ((size_t)1 << log_n) * sizeof(uint64_t);
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t q)
{
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, base = (uint64_t)((kernel_wide)base * base % q))
        if (exponent & 1)
            result = (uint64_t)((kernel_wide)result * base % q);
    return result;
}

static void fill(uint64_t *w, uint64_t *shoup, uint64_t root, uint64_t q, uint64_t log_n)
{
    uint64_t value = 1;
    for (size_t i = 0; i < (size_t)1 << log_n; i++) {
        size_t place = 0;
        for (uint64_t bit = 0; bit < log_n; bit++)
            place |= (i >> bit & 1) << (log_n - 1 - bit);
        w[place] = value;
        shoup[place] = (uint64_t)(((kernel_wide)value << 64) / q);
        value = (uint64_t)((kernel_wide)value * root % q);
    }
}

/* The row of a prime, from any primitive 2N-th root of one: the smallest such root is the one that counts. */
void concordat_prime(uint64_t q, uint64_t root, uint64_t log_n, kernel_prime *out)
{
    size_t n = (size_t)1 << log_n;
    uint64_t square = (uint64_t)((kernel_wide)root * root % q), smallest = root;
    for (size_t i = 0; i < n; i++) {
        smallest = root < smallest ? root : smallest;
        root = (uint64_t)((kernel_wide)root * square % q);
    }
    kernel_wide all_ones = ~(kernel_wide)0, ratio = all_ones / q; /* q is odd: the same as of 2^128 */
    memset(out, 0, sizeof *out);
    out->q = q;
    out->ratio_high = (uint64_t)(ratio >> 64);
    out->ratio_low = (uint64_t)ratio;
    out->n_inverse = power(n, q - 2, q);
    out->n_inverse_shoup = (uint64_t)(((kernel_wide)out->n_inverse << 64) / q);
    out->fold = ((uint64_t)1 << 52) % q;
    out->fold_shoup = (uint64_t)(((kernel_wide)out->fold << 52) / q);
    for (int i = 0; i < 2; i++) {
        out->limb[i] = ((uint64_t)1 << (30 * (i + 1))) % q;
        out->limb_shoup[i] = (uint64_t)(((kernel_wide)out->limb[i] << 64) / q);
    }
    for (uint64_t rest = q; rest; rest >>= 1)
        out->bits++;
    out->log_n = log_n;
    uint64_t *tables = (uint64_t *)(out + 1);
    fill(tables + ROOTS * n, tables + ROOTS_SHOUP * n, smallest, q, log_n);
    fill(tables + INVERSES * n, tables + INVERSES_SHOUP * n, power(smallest, q - 2, q), q, log_n);
}

void concordat_forward(const kernel_prime *p, uint64_t *x) { kernel_use->forward(p, x); }
void concordat_inverse(const kernel_prime *p, uint64_t *x) { kernel_use->inverse(p, x); }

/* A polynomial of small signed coefficients, transformed at each of the primes. */
void concordat_transform(const kernel_prime *rows, size_t primes, const int32_t *x, uint64_t *out)
{
    for (size_t i = 0; i < primes; i++, out += degree_of(rows)) {
        kernel_use->lift(row(rows, i), x, out);
        kernel_use->forward(row(rows, i), out);
    }
}

/* What the encoding of one block needs. */
typedef struct {
    const kernel_prime *rows, *plain; /* the primes; t */
    size_t levels, n, scale, baby, giants;
    const uint32_t *places; /* slot -> place in the transform modulo t */
    int32_t *coefficients;  /* scratch: [n][N] */
    uint64_t *scratch;      /* [baby][WIDTH] */
} kernel_encoding;

/* Words of a block at one prime. */
static size_t prime_words(const kernel_encoding *e) { return e->n * degree_of(e->rows); }

/* The diagonals of one giant step as plaintexts: coefficients between -t/2 and t/2. */
static void diagonals(const kernel_encoding *e, const int8_t *templates, size_t giant)
{
    size_t degree = degree_of(e->plain), half = degree / 2, width = width_of(e->plain), shift = giant * e->baby;
    uint64_t t = e->plain->q;
    for (size_t slot = 0; slot < degree; slot++) {
        size_t place = e->places[(slot & half) | ((slot + shift) & (half - 1))];
        const int8_t *entries = templates + slot * e->n;
        for (size_t j = 0; j < e->baby; j++) {
            int64_t value = (int64_t)e->scale * entries[(slot + shift + j) & (e->n - 1)];
            e->scratch[j * width + place] = (uint64_t)value + (value < 0 ? t : 0);
        }
    }
    for (size_t j = 0; j < e->baby; j++) {
        uint64_t *x = e->scratch + j * width;
        int32_t *out = e->coefficients + (shift + j) * degree;
        kernel_use->inverse(e->plain, x);
        for (size_t i = 0; i < degree; i++)
            out[i] = (int32_t)((int64_t)x[i] - (x[i] > t / 2 ? (int64_t)t : 0));
    }
}

static void all_diagonals(const kernel_encoding *e, const int8_t *templates)
{
    for (size_t giant = 0; giant < e->giants; giant++)
        diagonals(e, templates, giant);
}

/* All diagonals transformed at one prime, where the sums read them. */
static void encode_prime(const kernel_encoding *e, size_t prime, uint64_t *block)
{
    const kernel_prime *p = row(e->rows, prime);
    size_t degree = degree_of(p), width = width_of(p), step = e->baby * LANE;
    for (size_t giant = 0; giant < e->giants; giant++) {
        for (size_t j = 0; j < e->baby; j++) {
            kernel_use->lift(p, e->coefficients + (giant * e->baby + j) * degree, e->scratch + j * width);
            kernel_use->forward(p, e->scratch + j * width);
        }
        for (size_t line = 0; line < degree / LANE; line++) {
            uint64_t *out = block + (line * e->giants + giant) * step;
            for (size_t j = 0; j < e->baby; j++)
                memcpy(out + j * LANE, e->scratch + j * width + line * LANE, LANE * sizeof(uint64_t));
        }
    }
}

/* The place of the first partial sum of a prime: [giant step][half][prime][N]. */
static uint64_t *partial_of(uint64_t *partials, const kernel_encoding *e, size_t half, size_t prime)
{
    return partials + (half * e->levels + prime) * degree_of(e->rows);
}

/* Partial sums of all giant steps at one prime, for several probes at once. */
static void sums_prime(const kernel_encoding *e, size_t prime, const uint64_t *block, size_t probes,
                       const uint64_t *const *rotations, uint64_t *const *partials)
{
    size_t lines = degree_of(e->rows) / LANE, step = e->baby * LANE;
    for (size_t line = 0; line < lines; line++)
        for (size_t i = 0; i < probes; i++) {
            const uint64_t *probe = rotations[i] + (prime * lines + line) * 2 * step;
            kernel_sums s = {.vectors = e->giants, .count = e->baby,
                             .a_vector = step, .a_term = LANE, .b_vector = 0, .b_term = LANE,
                             .out_vector = 2 * e->levels * degree_of(e->rows),
                             .a = block + line * e->giants * step, .b = {probe, probe + step},
                             .out = {partial_of(partials[i], e, 0, prime) + line * LANE,
                                     partial_of(partials[i], e, 1, prime) + line * LANE}};
            kernel_use->sums(row(e->rows, prime), &s);
        }
}

void concordat_encode(const kernel_encoding *e, const int8_t *templates, uint64_t *block)
{
    all_diagonals(e, templates);
    for (size_t prime = 0; prime < e->levels; prime++)
        encode_prime(e, prime, block + prime * prime_words(e));
}

/* Partial sums of a block that is kept. */
void concordat_sums(const kernel_encoding *e, const uint64_t *block, size_t probes, const uint64_t *const *rotations,
                    uint64_t *const *partials)
{
    for (size_t prime = 0; prime < e->levels; prime++)
        sums_prime(e, prime, block + prime * prime_words(e), probes, rotations, partials);
}

/* The same of a block that is not kept: it is encoded prime by prime, in memory for one. */
void concordat_sums_once(const kernel_encoding *e, const int8_t *templates, uint64_t *one_prime, size_t probes,
                         const uint64_t *const *rotations, uint64_t *const *partials)
{
    all_diagonals(e, templates);
    for (size_t prime = 0; prime < e->levels; prime++) {
        encode_prime(e, prime, one_prime);
        sums_prime(e, prime, one_prime, probes, rotations, partials);
    }
}

/* Lay one rotated probe where the sums read it. */
void concordat_place(const kernel_encoding *e, const uint64_t *ciphertext, size_t baby, uint64_t *rotations)
{
    size_t lines = degree_of(e->rows) / LANE, step = e->baby * LANE;
    for (size_t half = 0; half < 2; half++)
        for (size_t place = 0; place < e->levels * lines; place++, ciphertext += LANE)
            memcpy(rotations + (2 * place + half) * step + baby * LANE, ciphertext, LANE * sizeof(uint64_t));
}
