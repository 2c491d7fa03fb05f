/* SPDX-License-Identifier: Apache-2.0
 *
 * Kerl: Keccak-384 over words of 243 trits.
 *
 * Source: IOTA "kerl" specification (2017): each 243-trit block has its last
 * trit zeroed and enters the sponge as 48 big-endian bytes; the digest comes
 * back the same way.
 */
#include "codec.h"
#include "kernel.h"

int sk_kerl(const char *trytes, size_t length_trytes, char *out_81)
{
    sk_sponge sponge;
    sk_word word;

    if (length_trytes == 0 || length_trytes % WORD_TRYTES != 0)
        return SK_ERR_LENGTH;
    sk_sponge_init(&sponge);
    for (size_t at = 0; at < length_trytes; at += WORD_TRYTES) {
        const int status = sk_word_from_trytes(&word, trytes + at);

        if (status != SK_OK)
            return status;
        sk_sponge_absorb_word(&sponge, &word);
    }
    sk_sponge_finish(&sponge);
    sk_sponge_digest(&sponge, &word);
    sk_word_reduce(&word);
    sk_word_to_trytes(&word, out_81);
    return SK_OK;
}
