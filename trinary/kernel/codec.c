/* SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include "kernel.h"

#include <string.h>

/* Digits of base 27 are handled six at a time: 27^6 fits 32 bits. */
#define GROUP_TRYTES 6
#define GROUP_POWER 387420489u
#define HALF_LIMBS 12
#define TRYTE_MAX 13
/* Without its highest trit the last tryte of a word is -4..4. */
#define LAST_TRYTE_MAX 4

int8_t sk_tryte_value(char tryte)
{
    if (tryte == '9')
        return 0;
    if (tryte >= 'A' && tryte <= 'M')
        return (int8_t)(tryte - 'A' + 1);
    if (tryte >= 'N' && tryte <= 'Z')
        return (int8_t)(tryte - 'Z' - 1);
    return TRYTE_INVALID;
}

char sk_tryte_of(int value)
{
    if (value == 0)
        return '9';
    return (char)(value > 0 ? 'A' + value - 1 : 'Z' + value + 1);
}

int sk_check_trytes(const char *trytes, size_t length_trytes)
{
    for (size_t i = 0; i < length_trytes; i++)
        if (sk_tryte_value(trytes[i]) == TRYTE_INVALID)
            return SK_ERR_TRYTE;
    return SK_OK;
}

/* number = number * factor + term, on 32-bit limbs, the lowest first. */
static void multiply_add(uint32_t number[HALF_LIMBS], uint32_t factor,
                         uint32_t term)
{
    uint64_t carry = term;

    for (int i = 0; i < HALF_LIMBS; i++) {
        carry += (uint64_t)number[i] * factor;
        number[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* number = number / GROUP_POWER; returns the remainder. */
static uint32_t divide(uint32_t number[HALF_LIMBS])
{
    uint64_t rest = 0;

    for (int i = HALF_LIMBS - 1; i >= 0; i--) {
        rest = (rest << 32) | number[i];
        number[i] = (uint32_t)(rest / GROUP_POWER);
        rest %= GROUP_POWER;
    }
    return (uint32_t)rest;
}

static void word_from_halves(sk_word *word, const uint32_t halves[HALF_LIMBS])
{
    for (int i = 0; i < WORD_LIMBS; i++) {
        const int low = 2 * (WORD_LIMBS - 1 - i);

        word->limb[i] = (uint64_t)halves[low + 1] << 32 | halves[low];
    }
}

static void word_to_halves(const sk_word *word, uint32_t halves[HALF_LIMBS])
{
    for (int i = 0; i < WORD_LIMBS; i++) {
        const int low = 2 * (WORD_LIMBS - 1 - i);

        halves[low] = (uint32_t)word->limb[i];
        halves[low + 1] = (uint32_t)(word->limb[i] >> 32);
    }
}

/* A tryte as a digit of 0..26, or 0..8 for the last of a word. */
static uint32_t digit_of(int8_t value, size_t place)
{
    if (place != WORD_TRYTES - 1)
        return (uint32_t)(value + TRYTE_MAX);
    if (value > LAST_TRYTE_MAX)
        value = (int8_t)(value - 9);
    if (value < -LAST_TRYTE_MAX)
        value = (int8_t)(value + 9);
    return (uint32_t)(value + LAST_TRYTE_MAX);
}

int sk_word_from_trytes(sk_word *word, const char trytes[WORD_TRYTES])
{
    uint32_t halves[HALF_LIMBS] = {0};
    sk_word negated_max;
    const sk_word one = {{0, 0, 0, 0, 0, 1}};

    for (size_t left = WORD_TRYTES; left > 0;) {
        uint32_t group = 0;
        uint32_t group_power = 1;

        do {
            const int8_t value = sk_tryte_value(trytes[--left]);

            if (value == TRYTE_INVALID)
                return SK_ERR_TRYTE;
            group = group * 27 + digit_of(value, left);
            group_power *= 27;
        } while (left % GROUP_TRYTES != 0);
        multiply_add(halves, group_power, group);
    }
    /* The digits are each shifted by half their base: by max in all. */
    for (int i = 0; i < WORD_LIMBS; i++)
        negated_max.limb[i] = ~sk_word_max.limb[i];
    sk_word_add(&negated_max, &negated_max, &one);
    word_from_halves(word, halves);
    sk_word_add(word, word, &negated_max);
    return SK_OK;
}

void sk_word_to_trytes(const sk_word *word, char trytes[WORD_TRYTES])
{
    uint32_t halves[HALF_LIMBS];
    sk_word shifted;

    sk_word_add(&shifted, word, &sk_word_max);
    word_to_halves(&shifted, halves);
    for (size_t at = 0; at < WORD_TRYTES;) {
        uint32_t group = divide(halves);

        do {
            const int offset =
                at == WORD_TRYTES - 1 ? LAST_TRYTE_MAX : TRYTE_MAX;

            trytes[at++] = sk_tryte_of((int)(group % 27) - offset);
            group /= 27;
        } while (at % GROUP_TRYTES != 0 && at < WORD_TRYTES);
    }
}

int sk_trits_from_trytes(int8_t *trits, const char *trytes,
                         size_t length_trytes)
{
    for (size_t i = 0; i < length_trytes; i++) {
        const int8_t value = sk_tryte_value(trytes[i]);
        int rest = value + TRYTE_MAX;

        if (value == TRYTE_INVALID)
            return SK_ERR_TRYTE;
        for (int j = 0; j < TRITS_PER_TRYTE; j++) {
            *trits++ = (int8_t)(rest % 3 - 1);
            rest /= 3;
        }
    }
    return SK_OK;
}

void sk_trytes_from_trits(char *trytes, const int8_t *trits,
                          size_t length_trytes)
{
    for (size_t i = 0; i < length_trytes; i++, trits += TRITS_PER_TRYTE)
        trytes[i] = sk_tryte_of(trits[0] + 3 * trits[1] + 9 * trits[2]);
}

int sk_bytes_from_trytes(const char *trytes, size_t length_trytes,
                         uint8_t *out_48)
{
    sk_word word;
    int status;

    if (length_trytes != WORD_TRYTES)
        return SK_ERR_LENGTH;
    status = sk_word_from_trytes(&word, trytes);
    if (status == SK_OK)
        sk_word_to_bytes(&word, out_48);
    return status;
}

int sk_trytes_from_bytes(const uint8_t *bytes, size_t length_bytes,
                         char *out_81)
{
    sk_word word;

    if (length_bytes != WORD_BYTES)
        return SK_ERR_LENGTH;
    sk_word_from_bytes(&word, bytes);
    sk_word_reduce(&word);
    sk_word_to_trytes(&word, out_81);
    return SK_OK;
}
