/* The floor: the least a server for uwsgi_pass can do. One process, one connection at a time: accept4, read, write,
 * close. It looks at nothing but the length of the packet, and always answers with the same bytes.
 *
 *   floor SOCKET FILE     SOCKET is the path of a unix socket, FILE has the whole response
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static char *load(const char *path, size_t *length) {
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &status))
        fail(path);
    *length = (size_t)status.st_size;
    char *bytes = malloc(*length + 1);
    if (!bytes || fread(bytes, 1, *length, file) != *length)
        fail(path);
    fclose(file);
    return bytes;
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "%s: too long for a unix socket\n", path);
        exit(1);
    }
    strcpy(address.sun_path, path);
    unlink(path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        fail(path);
    return listener;
}

/* The packet: modifier1, the length of the variables in two bytes, modifier2, the variables. */
static int read_packet(int connection, unsigned char *buffer, size_t size) {
    size_t have = 0, want = 4;
    while (have < want) {
        ssize_t got = read(connection, buffer + have, size - have);
        if (got <= 0)
            return 0;
        have += (size_t)got;
        if (have >= 4)
            want = 4 + (size_t)buffer[1] + ((size_t)buffer[2] << 8);
    }
    return 1;
}

int main(int count, char **arguments) {
    static unsigned char packet[4 + 65535];
    size_t length;
    if (count != 3) {
        fprintf(stderr, "usage: floor SOCKET FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const char *response = load(arguments[2], &length);
    int listener = listen_at(arguments[1]);
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        if (read_packet(connection, packet, sizeof packet)) {
            size_t sent = 0;
            while (sent < length) {
                ssize_t wrote = write(connection, response + sent, length - sent);
                if (wrote <= 0)
                    break;
                sent += (size_t)wrote;
            }
        }
        close(connection);
    }
}
