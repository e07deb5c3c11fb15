#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "internal.h"

/// Reads certificates to the end of `text`, and hands each on. False: one cannot be read, or there is none.
static bool each_certificate(const char *text, bool (*take)(void *context, X509 *certificate, bool is_first), void *context) {
    BIO *source = BIO_new_mem_buf(text, -1);
    bool is_first = true, taken = true;
    X509 *certificate = NULL;
    while (taken && (certificate = PEM_read_bio_X509(source, NULL, NULL, NULL)) != NULL) {
        taken = take(context, certificate, is_first);
        is_first = false;
        X509_free(certificate);
    }
    BIO_free(source);
    // At the end there is no further "BEGIN"; anything else is a certificate that is cut off or is none.
    bool is_over = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (taken && is_over) ERR_clear_error();
    return taken && is_over && !is_first;
}

static bool use(void *context, X509 *certificate, bool is_first) {
    return is_first ? SSL_CTX_use_certificate(context, certificate) == 1 : SSL_CTX_add1_chain_cert(context, certificate) == 1;
}

static bool trust(void *context, X509 *certificate, bool is_first) {
    (void)is_first;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1;
}

static bool use_key(SSL_CTX *context, const char *text) {
    BIO *source = BIO_new_mem_buf(text, -1);
    // Without a password: nobody is there to be asked.
    EVP_PKEY *key = PEM_read_bio_PrivateKey(source, NULL, NULL, (void *)"");
    BIO_free(source);
    bool is_used = key != NULL && SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    return is_used;
}

bool cgrpc_tls_check(const cgrpc_tls *tls, char *reason, size_t reason_capacity) {
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    const char *fault = NULL;
    if (context == NULL) {
        fault = "OpenSSL";
    } else if (tls->authorities != NULL && !each_certificate(tls->authorities, trust, context)) {
        fault = "the authorities";
    } else if (tls->certificate_chain != NULL && !each_certificate(tls->certificate_chain, use, context)) {
        fault = "the certificate";
    } else if (tls->private_key != NULL && !use_key(context, tls->private_key)) {
        fault = "the key";
    }
    SSL_CTX_free(context);
    if (fault != NULL) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        snprintf(reason, reason_capacity, "%s: %s", fault, why != NULL ? why : "cannot be used");
    }
    ERR_clear_error();
    return fault == NULL;
}
