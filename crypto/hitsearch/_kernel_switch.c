/* Entry points of the kernel: rotations, products, sums of ciphertexts, and the primes that are dropped on the way.
 *
 * A ciphertext is c0 prime by prime, then c1, N words each.
 */
#include "_kernel.h"

#include <string.h>

/* A key that switches keys, and the division by the special prime afterwards. */
typedef struct {
    const kernel_prime *rows, *plain; /* all primes, the special one last; t */
    size_t levels, special;           /* primes of the ciphertext; place of the special prime */
    const uint64_t *key;              /* [prime, with the special one][line][half][digit][8] */
    size_t digits;                    /* of the key: at least as many as levels */
    const kernel_drop *drops;         /* division by the special prime, prime by prime */
    uint64_t *scratch;                /* (7 levels + 4) rows */
} kernel_switch;

/* Rows of the scratch area: what is switched (transformed), what its result is added to, and space. */
typedef struct {
    uint64_t *target, *base, *digits, *operands, *products, *k, *temporary;
} kernel_areas;

static kernel_areas areas_of(const kernel_switch *s)
{
    size_t rows = s->levels * width_of(s->rows);
    kernel_areas a = {.target = s->scratch};
    a.base = a.target + rows;
    a.digits = a.base + 2 * rows;
    a.operands = a.digits + rows;
    a.products = a.operands + rows;
    a.k = a.products + 2 * rows + 2 * width_of(s->rows);
    a.temporary = a.k + width_of(s->rows);
    return a;
}

/* c (coefficients, reduced) minus what makes it divisible by the dropped prime and zero modulo t, divided, at one
 * prime: the number c + k * divisor, k = -c mod t, is what is taken away. The divisor is 1 modulo t. */
static void divide(const kernel_prime *p, const kernel_drop *d, const uint64_t *c, const uint64_t *k, uint64_t *temporary,
                   const uint64_t *x, const uint64_t *first, const uint64_t *second, uint64_t *out)
{
    kernel_use->delta(p, d, c, k, temporary);
    kernel_use->forward(p, temporary);
    kernel_use->finish(p, d, x, temporary, first, second, out);
}

/* Decompose the target, multiply with the key, divide by the special prime, and add the base and another ciphertext,
 * the latter unless it is NULL; the second half of the base only if it is there. */
static void switch_key(const kernel_switch *s, int halves_of_base, const uint64_t *addend, uint64_t *out)
{
    kernel_areas a = areas_of(s);
    size_t degree = degree_of(s->rows), width = width_of(s->rows), levels = s->levels;
    for (size_t j = 0; j < levels; j++) {
        memcpy(a.digits + j * width, a.target + j * width, degree * sizeof(uint64_t));
        kernel_use->inverse(row(s->rows, j), a.digits + j * width);
    }
    for (size_t i = 0; i <= levels; i++) {
        size_t prime = i == levels ? s->special : i;
        const kernel_prime *p = row(s->rows, prime);
        for (size_t j = 0; j < levels; j++) {
            uint64_t *operand = a.operands + j * width;
            if (j == i) {
                memcpy(operand, a.target + j * width, degree * sizeof(uint64_t));
                continue;
            }
            kernel_use->reduce(p, a.digits + j * width, operand);
            kernel_use->forward(p, operand);
        }
        const uint64_t *key = s->key + prime * 2 * s->digits * degree;
        kernel_sums sums = {.vectors = degree / LANE, .count = levels,
                            .a_vector = LANE, .a_term = width, .b_vector = 2 * s->digits * LANE, .b_term = LANE,
                            .out_vector = LANE, .a = a.operands, .b = {key, key + s->digits * LANE},
                            .out = {a.products + i * width, a.products + (levels + 1 + i) * width}};
        kernel_use->sums(p, &sums);
    }
    for (size_t half = 0; half < 2; half++) {
        uint64_t *product = a.products + half * (levels + 1) * width, *last = product + levels * width;
        kernel_use->inverse(row(s->rows, s->special), last);
        kernel_use->negate(s->plain, last, a.k);
        for (size_t i = 0; i < levels; i++) {
            size_t place = (half * levels + i) * degree;
            const uint64_t *base = (int)half < halves_of_base ? a.base + (half * levels + i) * width : NULL;
            divide(row(s->rows, i), s->drops + i, last, a.k, a.temporary, product + i * width, base,
                   addend ? addend + place : NULL, out + place);
        }
    }
}

/* Rotate a ciphertext, word i of the result coming from one of the places, and add another unless it is NULL. */
void concordat_rotate(const kernel_switch *s, const uint32_t *places, const uint64_t *in, const uint64_t *addend,
                      uint64_t *out)
{
    kernel_areas a = areas_of(s);
    size_t degree = degree_of(s->rows), width = width_of(s->rows);
    for (size_t j = 0; j < s->levels; j++)
        for (size_t i = 0; i < degree; i++) {
            a.base[j * width + i] = in[j * degree + places[i]];
            a.target[j * width + i] = in[(s->levels + j) * degree + places[i]];
        }
    switch_key(s, 1, addend, out);
}

/* The product of two ciphertexts, relinearised. */
void concordat_product(const kernel_switch *s, const uint64_t *left, const uint64_t *right, uint64_t *out)
{
    kernel_areas a = areas_of(s);
    size_t degree = degree_of(s->rows), width = width_of(s->rows), half = s->levels * degree;
    for (size_t j = 0; j < s->levels; j++, left += degree, right += degree) {
        const kernel_prime *p = row(s->rows, j);
        uint64_t *first = a.base + j * width, *second = a.base + (s->levels + j) * width;
        kernel_sums one = {.vectors = degree / LANE, .count = 1, .a_vector = LANE, .b_vector = LANE, .out_vector = LANE,
                           .a = left, .b = {right, right + half}, .out = {first, second}};
        kernel_use->sums(p, &one);
        one.a = left + half;
        one.out[0] = a.temporary;
        one.out[1] = a.target + j * width;
        kernel_use->sums(p, &one);
        kernel_use->add(p, second, a.temporary);
    }
    switch_key(s, 2, NULL, out);
}

/* A ciphertext times a plaintext, or times a number where the distance between its lines is 0. */
void concordat_times(const kernel_prime *rows, size_t levels, const uint64_t *in, const uint64_t *plain,
                     size_t plain_prime, size_t plain_line, uint64_t *out)
{
    size_t degree = degree_of(rows), half = levels * degree;
    for (size_t j = 0; j < levels; j++, in += degree, out += degree) {
        kernel_sums one = {.vectors = degree / LANE, .count = 1, .a_vector = plain_line, .b_vector = LANE,
                           .out_vector = LANE, .a = plain + j * plain_prime, .b = {in, in + half},
                           .out = {out, out + half}};
        kernel_use->sums(row(rows, j), &one);
    }
}

/* x += y, so many polynomials of so many primes each. */
void concordat_add(const kernel_prime *rows, size_t levels, size_t polynomials, uint64_t *x, const uint64_t *y)
{
    for (size_t i = 0; i < polynomials * levels; i++)
        kernel_use->add(row(rows, i % levels), x + i * degree_of(rows), y + i * degree_of(rows));
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
        kernel_use->inverse(row(rows, levels - 1), last);
        kernel_use->negate(plain, last, k);
        for (size_t i = 0; i + 1 < levels; i++, out += degree)
            divide(row(rows, i), drops + i, last, k, temporary, x + i * degree, NULL, NULL, out);
    }
}
