/* lib/keyhash.c - SipHash by OpenSSL under a key of this process
 *
 * One context for the life of the process.  It gets its key with each hash: to start one
 * anew without a key works only in some versions of OpenSSL 3.
 */
#include "lib/keyhash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <sysexits.h>
#include "lib/log.h"

enum { KEY_LEN = 16, HASH_LEN = 8 };

static EVP_MAC_CTX *ctx;
static unsigned char secret[KEY_LEN];

static void start(void)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);

	if (mac != NULL)
		ctx = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	if (ctx == NULL || RAND_bytes(secret, sizeof(secret)) != 1)
		log_fatal(EX_OSERR, "no-siphash", LOG_PAIRS());
}

unsigned keyhash(const void *key, size_t len)
{
	size_t size = HASH_LEN, got;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
		OSSL_PARAM_construct_end(),
	};
	unsigned char out[HASH_LEN];

	if (ctx == NULL)
		start();
	if (!EVP_MAC_init(ctx, secret, sizeof(secret), params) ||
	    !EVP_MAC_update(ctx, key, len) || !EVP_MAC_final(ctx, out, &got, sizeof(out)))
		log_fatal(EX_SOFTWARE, "siphash-failed", LOG_PAIRS());
	return (unsigned)out[0] | (unsigned)out[1] << 8 | (unsigned)out[2] << 16 |
	       (unsigned)out[3] << 24;
}
