/* A device on mbedTLS, which Debian has in a version that speaks TLS 1.2 alone, as ports of the C SDK to small devices.
 * device_mbedtls HOST PORT CA CERT KEY PATH THING
 * device_mbedtls HOST PORT CA PATH: a camera in the small profile (one suite, with RSA; P-256; records of 4,096 bytes),
 * which upgrades.
 * It asks once, prints what it reads, and exits with 0 if there was an answer. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int code, const char *what) {
    if (code < 0) {
        fprintf(stderr, "%s: -0x%04x\n", what, (unsigned)-code);
        exit(1);
    }
}

static const int suites[] = {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0};
static const int hashes[] = {MBEDTLS_MD_SHA256, MBEDTLS_MD_NONE};
static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_NONE};

/* What is wanted at once is a record: a longer one does not fit, with its nonce and tag. */
static int receive_small(void *socket, unsigned char *to, size_t bytes) {
    return bytes > 4096 + 24 ? MBEDTLS_ERR_SSL_INVALID_RECORD : mbedtls_net_recv(socket, to, bytes);
}

int main(int count, char **arguments) {
    if (count != 8 && count != 5) return 2;
    const int small = count == 5;
    const char *host = arguments[1], *port = arguments[2], *path = arguments[small ? 4 : 6];
    const char *thing = small ? "" : arguments[7];
    mbedtls_net_context socket;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_ssl_config config;
    mbedtls_ssl_context tls;
    mbedtls_x509_crt authority, own;
    mbedtls_pk_context key;
    mbedtls_net_init(&socket);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&tls);
    mbedtls_x509_crt_init(&authority);
    mbedtls_x509_crt_init(&own);
    mbedtls_pk_init(&key);
    must(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
    must(mbedtls_x509_crt_parse_file(&authority, arguments[3]), "authority");
    must(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT), "defaults");
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    if (small) {
        mbedtls_ssl_conf_ciphersuites(&config, suites);
        mbedtls_ssl_conf_sig_hashes(&config, hashes);
        mbedtls_ssl_conf_curves(&config, curves);
    } else {
        must(mbedtls_x509_crt_parse_file(&own, arguments[4]), "certificate");
        must(mbedtls_pk_parse_keyfile(&key, arguments[5], NULL), "key");
        must(mbedtls_ssl_conf_own_cert(&config, &own, &key), "own certificate");
    }
    must(mbedtls_ssl_setup(&tls, &config), "setup");
    must(mbedtls_ssl_set_hostname(&tls, host), "server name");
    must(mbedtls_net_connect(&socket, "127.0.0.1", port, MBEDTLS_NET_PROTO_TCP), "connect");
    mbedtls_ssl_set_bio(&tls, &socket, mbedtls_net_send, small ? receive_small : mbedtls_net_recv, NULL);
    must(mbedtls_ssl_handshake(&tls), "handshake");
    fprintf(stderr, "%s\n", mbedtls_ssl_get_version(&tls));
    char text[8192];
    const char *form = "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n\r\n";
    const char *lines = small ? "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
                              : "x-amzn-iot-thingname: ";
    int bytes = snprintf(text, sizeof text, form, path, host, lines, thing);
    must(mbedtls_ssl_write(&tls, (unsigned char *)text, (size_t)bytes), "write");
    bytes = mbedtls_ssl_read(&tls, (unsigned char *)text, sizeof text - 1); /* one read, as the C SDK */
    must(bytes, "read");
    fwrite(text, 1, (size_t)bytes, stdout);
    mbedtls_ssl_close_notify(&tls);
    return 0;
}
