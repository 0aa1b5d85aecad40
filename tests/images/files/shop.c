/* shop serves the file index.html of the folder that it runs in, and says so once. It is linked against musl, not statically. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    int door = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 64)) {
        perror("shop");
        return 1;
    }
    puts("the shop is open");
    fflush(stdout);
    for (;;) {
        char asked[8192], head[256], page[1 << 16];
        int caller = accept(door, 0, 0);
        ssize_t size = read(caller, asked, sizeof asked);
        int file = open("index.html", O_RDONLY);
        size = file < 0 ? 0 : read(file, page, sizeof page);
        int length = sprintf(head, "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %zd\r\nConnection: close\r\n\r\n",
                             file < 0 ? "404 Not Found" : "200 OK", size);
        if (write(caller, head, length) < 0 || write(caller, page, size) < 0)
            perror("shop");
        if (file >= 0)
            close(file);
        close(caller);
    }
}
