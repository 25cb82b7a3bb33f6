/* The kernel's entry points: numbers of the scores, from templates and rotated probes in plain arrays.
 *
 * Orders of words. A polynomial: N words in SEAL's order. A ciphertext: c0 prime by prime, then c1. A block:
 * [prime][line][giant step][baby step][8]; the rotations of a probe: [prime][line][half][baby step][8]. Rows of a
 * scratch area are WIDTH words apart, so that equal places of several rows do not meet in one set of a cache.
 */
#include "_kernel.h"

#include <string.h>

#ifndef KERNEL_SOURCE
#define KERNEL_SOURCE "unknown"
#endif

static const kernel_operations *use = &kernel_portable;

static size_t degree_of(const kernel_prime *p) { return (size_t)1 << p->log_n; }
static size_t width_of(const kernel_prime *p) { return degree_of(p) + 8 * LANE; }

static const kernel_prime *row(const kernel_prime *rows, size_t i)
{
    size_t bytes = sizeof(kernel_prime) + TABLES * degree_of(rows) * sizeof(uint64_t);
    return (const kernel_prime *)(const void *)((const char *)rows + i * bytes);
}

/* What the sources were when this was built. */
const char *concordat_source(void) { return KERNEL_SOURCE; }

/* Choose the plain operations (0) or the best that the processor has (1). */
void concordat_choose(int best)
{
    const kernel_operations *other = best ? kernel_avx512() : NULL;
    use = other ? other : &kernel_portable;
}

const char *concordat_running(void) { return use == &kernel_portable ? "portable" : "AVX-512"; }

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

void concordat_forward(const kernel_prime *p, uint64_t *x) { use->forward(p, x); }
void concordat_inverse(const kernel_prime *p, uint64_t *x) { use->inverse(p, x); }

/* A polynomial of small signed coefficients, transformed at each of the primes. */
void concordat_transform(const kernel_prime *rows, size_t primes, const int32_t *x, uint64_t *out)
{
    for (size_t i = 0; i < primes; i++, out += degree_of(rows)) {
        use->lift(row(rows, i), x, out);
        use->forward(row(rows, i), out);
    }
}

/* What the encoding of one block needs. */
typedef struct {
    const kernel_prime *rows, *plain; /* the primes; t */
    size_t levels, n, scale, baby, giants;
    const uint32_t *places; /* slot -> place in the transform modulo t */
    int32_t *coefficients;  /* scratch: [baby][N] */
    uint64_t *scratch;      /* [baby][WIDTH] */
} kernel_encoding;

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
        int32_t *out = e->coefficients + j * degree;
        use->inverse(e->plain, x);
        for (size_t i = 0; i < degree; i++)
            out[i] = (int32_t)((int64_t)x[i] - (x[i] > t / 2 ? (int64_t)t : 0));
    }
}

/* The same, transformed at one prime, in the scratch area. */
static void transformed(const kernel_encoding *e, size_t prime)
{
    const kernel_prime *p = row(e->rows, prime);
    for (size_t j = 0; j < e->baby; j++) {
        use->lift(p, e->coefficients + j * degree_of(p), e->scratch + j * width_of(p));
        use->forward(p, e->scratch + j * width_of(p));
    }
}

void concordat_encode(const kernel_encoding *e, const int8_t *templates, uint64_t *block)
{
    size_t lines = degree_of(e->rows) / LANE, width = width_of(e->rows), step = e->baby * LANE;
    for (size_t giant = 0; giant < e->giants; giant++) {
        diagonals(e, templates, giant);
        for (size_t prime = 0; prime < e->levels; prime++) {
            transformed(e, prime);
            for (size_t line = 0; line < lines; line++) {
                uint64_t *out = block + ((prime * lines + line) * e->giants + giant) * step;
                for (size_t j = 0; j < e->baby; j++)
                    memcpy(out + j * LANE, e->scratch + j * width + line * LANE, LANE * sizeof(uint64_t));
            }
        }
    }
}

/* The place of a partial sum: [giant step][half][prime][N]. */
static uint64_t *partial_of(uint64_t *partials, const kernel_encoding *e, size_t giant, size_t half, size_t prime)
{
    return partials + ((giant * 2 + half) * e->levels + prime) * degree_of(e->rows);
}

/* Partial sums of all giant steps, for several probes at once, of a block that is kept. */
void concordat_sums(const kernel_encoding *e, const uint64_t *block, size_t probes, const uint64_t *const *rotations,
                    uint64_t *const *partials)
{
    size_t lines = degree_of(e->rows) / LANE, step = e->baby * LANE;
    for (size_t prime = 0; prime < e->levels; prime++)
        for (size_t line = 0; line < lines; line++)
            for (size_t i = 0; i < probes; i++) {
                size_t place = prime * lines + line;
                const uint64_t *probe = rotations[i] + place * 2 * step;
                kernel_sums s = {.vectors = e->giants, .count = e->baby,
                                 .a_vector = step, .a_term = LANE, .b_vector = 0, .b_term = LANE,
                                 .out_vector = 2 * e->levels * degree_of(e->rows),
                                 .a = block + place * e->giants * step, .b = {probe, probe + step},
                                 .out = {partial_of(partials[i], e, 0, 0, prime) + line * LANE,
                                         partial_of(partials[i], e, 0, 1, prime) + line * LANE}};
                use->sums(row(e->rows, prime), &s);
            }
}

/* The same of a block that is not kept: each diagonal is encoded, used for all probes, and forgotten. */
void concordat_sums_once(const kernel_encoding *e, const int8_t *templates, size_t probes,
                         const uint64_t *const *rotations, uint64_t *const *partials)
{
    size_t lines = degree_of(e->rows) / LANE, step = e->baby * LANE;
    for (size_t giant = 0; giant < e->giants; giant++) {
        diagonals(e, templates, giant);
        for (size_t prime = 0; prime < e->levels; prime++) {
            transformed(e, prime);
            for (size_t i = 0; i < probes; i++) {
                const uint64_t *probe = rotations[i] + prime * lines * 2 * step;
                kernel_sums s = {.vectors = lines, .count = e->baby,
                                 .a_vector = LANE, .a_term = width_of(e->rows), .b_vector = 2 * step, .b_term = LANE,
                                 .out_vector = LANE, .a = e->scratch, .b = {probe, probe + step},
                                 .out = {partial_of(partials[i], e, giant, 0, prime),
                                         partial_of(partials[i], e, giant, 1, prime)}};
                use->sums(row(e->rows, prime), &s);
            }
        }
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

/* A rotation: its permutation, its key, and the division by the special prime afterwards. */
typedef struct {
    const kernel_prime *rows, *plain; /* all primes, the special one last; t */
    size_t levels, special;           /* primes of the ciphertext; place of the special prime */
    const uint32_t *places;           /* word i of the result comes from here */
    const uint64_t *key;              /* [prime, with the special one][line][half][digit][8] */
    size_t digits;                    /* of the key: at least as many as levels */
    const kernel_drop *drops;         /* division by the special prime, prime by prime */
    uint64_t *scratch;                /* (5 levels + 6) rows */
} kernel_rotation;

/* c (coefficients, reduced) minus what makes it divisible by the dropped prime and zero modulo t, divided, at one
 * prime: the number c + k * divisor, k = -c mod t, is what is taken away. The divisor is 1 modulo t. */
static void divide(const kernel_prime *p, const kernel_drop *d, const uint64_t *c, const uint64_t *k, uint64_t *temporary,
                   const uint64_t *x, const uint64_t *first, const uint64_t *second, uint64_t *out)
{
    use->delta(p, d, c, k, temporary);
    use->forward(p, temporary);
    use->finish(p, d, x, temporary, first, second, out);
}

/* Rotate a ciphertext, and add another to the result unless it is NULL. */
void concordat_rotate(const kernel_rotation *r, const uint64_t *in, const uint64_t *addend, uint64_t *out)
{
    size_t degree = degree_of(r->rows), width = width_of(r->rows), levels = r->levels, polynomial = levels * degree;
    uint64_t *target = r->scratch, *digits = target + levels * width, *operands = digits + levels * width;
    uint64_t *products = operands + levels * width, *k = products + 2 * (levels + 1) * width;
    uint64_t *temporary = k + width, *moved = temporary + width;
    for (size_t j = 0; j < levels; j++) {
        const uint64_t *c1 = in + polynomial + j * degree;
        for (size_t i = 0; i < degree; i++)
            target[j * width + i] = c1[r->places[i]];
        memcpy(digits + j * width, target + j * width, degree * sizeof(uint64_t));
        use->inverse(row(r->rows, j), digits + j * width);
    }
    for (size_t i = 0; i <= levels; i++) {
        size_t prime = i == levels ? r->special : i;
        const kernel_prime *p = row(r->rows, prime);
        for (size_t j = 0; j < levels; j++) {
            uint64_t *operand = operands + j * width;
            if (j == i) {
                memcpy(operand, target + j * width, degree * sizeof(uint64_t));
                continue;
            }
            use->reduce(p, digits + j * width, operand);
            use->forward(p, operand);
        }
        const uint64_t *key = r->key + prime * 2 * r->digits * degree;
        kernel_sums s = {.vectors = degree / LANE, .count = levels,
                         .a_vector = LANE, .a_term = width, .b_vector = 2 * r->digits * LANE, .b_term = LANE,
                         .out_vector = LANE, .a = operands, .b = {key, key + r->digits * LANE},
                         .out = {products + i * width, products + (levels + 1 + i) * width}};
        use->sums(p, &s);
    }
    for (size_t half = 0; half < 2; half++) {
        uint64_t *product = products + half * (levels + 1) * width, *last = product + levels * width;
        use->inverse(row(r->rows, r->special), last);
        use->negate(r->plain, last, k);
        for (size_t i = 0; i < levels; i++) {
            size_t place = half * polynomial + i * degree;
            for (size_t l = 0; half == 0 && l < degree; l++)
                moved[l] = in[i * degree + r->places[l]];
            divide(row(r->rows, i), r->drops + i, last, k, temporary, product + i * width, half ? NULL : moved,
                   addend ? addend + place : NULL, out + place);
        }
    }
}

/* Drop the last of so many primes. Scratch: 3 rows. */
void concordat_drop(const kernel_prime *rows, const kernel_prime *plain, size_t levels, const kernel_drop *drops,
                    const uint64_t *in, uint64_t *scratch, uint64_t *out)
{
    size_t degree = degree_of(rows), width = width_of(rows);
    uint64_t *last = scratch, *k = last + width, *temporary = k + width;
    for (size_t half = 0; half < 2; half++) {
        const uint64_t *x = in + half * levels * degree;
        memcpy(last, x + (levels - 1) * degree, degree * sizeof(uint64_t));
        use->inverse(row(rows, levels - 1), last);
        use->negate(plain, last, k);
        for (size_t i = 0; i + 1 < levels; i++, out += degree)
            divide(row(rows, i), drops + i, last, k, temporary, x + i * degree, NULL, NULL, out);
    }
}
