#include "alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP = 16,          // sizes are multiples of it
    MAX_SMALL = 512,    // larger blocks are malloc's
    CHUNK = 16 << 10,   // what malloc is asked for, to be cut into small blocks
};

// Every block has a head, and therefore begins 8 bytes behind a multiple of 16.
struct head {
    uint32_t size; // of the block, as it may be used
    uint32_t unused;
};

// A free block.
struct block {
    struct block *next;
};

static struct block *free_blocks[MAX_SMALL / STEP + 1]; // by size
static uint8_t *chunk;                                  // what is left of the last chunk
static uint32_t chunk_left;

static struct head *head_of(const void *p) { return (struct head *)p - 1; }

static uint32_t rounded(size_t size) { return (size + STEP - 1) / STEP * STEP; }

static void *small(uint32_t size) {
    struct block *block = free_blocks[size / STEP];
    if (block) {
        free_blocks[size / STEP] = block->next;
        return block;
    }
    uint32_t whole = size + sizeof(struct head);
    if (chunk_left < whole) { // what is left is less than the largest block: it is let go
        uint8_t *fresh = malloc(CHUNK);
        if (!fresh) return NULL;
        chunk = fresh;
        chunk_left = CHUNK;
    }
    struct head *head = (struct head *)chunk;
    chunk += whole;
    chunk_left -= whole;
    head->size = size;
    return head + 1;
}

static void *allocate(JSMallocState *s, size_t size) {
    void *p;
    if (size <= MAX_SMALL) {
        p = small(rounded(size));
        if (!p) return NULL;
    } else {
        struct head *head = size < UINT32_MAX - STEP ? malloc(size + sizeof *head) : NULL;
        if (!head) return NULL;
        head->size = size;
        p = head + 1;
    }
    s->malloc_count++;
    s->malloc_size += head_of(p)->size + sizeof(struct head);
    return p;
}

static void let_go(JSMallocState *s, void *p) {
    if (!p) return;
    struct head *head = head_of(p);
    s->malloc_count--;
    s->malloc_size -= head->size + sizeof *head;
    if (head->size > MAX_SMALL) {
        free(head);
        return;
    }
    struct block *block = p;
    block->next = free_blocks[head->size / STEP];
    free_blocks[head->size / STEP] = block;
}

static void *resize(JSMallocState *s, void *p, size_t size) {
    if (!p) return size ? allocate(s, size) : NULL;
    if (!size) {
        let_go(s, p);
        return NULL;
    }
    struct head *head = head_of(p);
    if (size <= MAX_SMALL && head->size == rounded(size)) return p;
    if (size > MAX_SMALL && head->size > MAX_SMALL) {
        struct head *moved = size < UINT32_MAX - STEP ? realloc(head, size + sizeof *head) : NULL;
        if (!moved) return NULL;
        s->malloc_size += size - moved->size;
        moved->size = size;
        return moved + 1;
    }
    void *fresh = allocate(s, size);
    if (!fresh) return NULL;
    memcpy(fresh, p, head->size < size ? head->size : size);
    let_go(s, p);
    return fresh;
}

static size_t usable(const void *p) { return head_of(p)->size; }

const JSMallocFunctions alloc_functions = {allocate, let_go, resize, usable};
