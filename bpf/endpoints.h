/*
 * Endpoints that the kernel uses again by itself, as `ipc.admission_layout` describes them under LINE_FIELDS: who carries the last packet
 * of a session puts its endpoint behind the others of its real server, and who opens a session takes the first.
 */
#pragma once
#include "session.h"

#define MOST_TRIES 8
#define MOST_GONE 16 /* endpoints that a shard has taken out, passed over in one look at a line */

/* Whether a shard has let programs in; each calls `leave` afterwards. The result of the count is used, so memory is in order. */
static __always_inline __u32 enter(struct ring *ring)
{
	__u32 busy = __sync_fetch_and_add(&ring->busy, 1);

	asm volatile("" : : "r"(busy));
	return *(volatile __u32 *)&ring->is_open;
}

static __always_inline void leave(struct ring *ring)
{
	__u32 busy = __sync_fetch_and_add(&ring->busy, -1);

	asm volatile("" : : "r"(busy));
}

/* Whether both sides have acknowledged all that the other one has sent, FIN and all: `state.lane_entry`, `is_closed`. */
static __always_inline __u32 is_done(struct session_record *record)
{
	struct side *client = side_of(record, INBOUND), *server = side_of(record, OUTBOUND);

	return (__u32)client->next_seq + record->inbound_seq_delta == (__u32)server->acked &&
	       (__u32)server->next_seq + record->outbound_seq_delta == (__u32)client->acked;
}

/* Puts an endpoint into one of the lines of its pool that has room; whether there was one. */
static __always_inline __u32 put_in_line(struct home *home, __u32 pool, __u32 entry)
{
	__u32 first = bpf_get_prandom_u32();

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < LINES_OF_POOL; i++) {
		__u32 number = (first + i) % LINES_OF_POOL, key = (pool - 1) * LINES_OF_POOL + number;
		struct line *line = bpf_map_lookup_elem(&lines, &key);
		__u64 at;

		if (!line || *(volatile __u64 *)&line->tail - *(volatile __u64 *)&line->head >= LINE_PLACES)
			continue;
		at = __sync_fetch_and_add(&line->tail, 1);
		*(volatile __u32 *)&home->place = number * LINE_PLACES + at % LINE_PLACES;
		((volatile __u64 *)line->places)[at % LINE_PLACES] = at << 32 | entry;
		return 1;
	}
	return 0;
}

/* The session of an entry is over. From now on its packets go up, and whoever wins its record puts its endpoint in line. */
static __noinline int get_in_line(struct session_record *record, __u32 entry)
{
	struct home *home = bpf_map_lookup_elem(&homes, &entry);
	struct ring *ring;
	__u32 number, pool;

	if (!home || !home->pool)
		return 0;
	number = home->ring;
	ring = bpf_map_lookup_elem(&rings, &number);
	if (!ring)
		return 0;
	if (enter(ring)) {
		pool = *(volatile __u16 *)&home->pool;
		if (pool && !__sync_val_compare_and_swap(&record->held, 0, 1) && !put_in_line(home, pool, entry))
			*(volatile __u32 *)&record->held = 0;
	}
	leave(ring);
	return 0;
}

/* An endpoint that may be taken: the first one of its line. */
struct rested {
	struct session_record *record;
	struct line *line;
	__u64 head;
	__u32 entry;
	__u32 step; /* of the turn it is taken for */
};

/* Finds out whether the first endpoint of a line has rested long enough. */
static __noinline __u32 is_rested(__u32 number, struct rested *rested)
{
	struct line *line = bpf_map_lookup_elem(&lines, &number);
	__u64 head, place = GONE;

	if (!line)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_GONE; i++) {
		head = *(volatile __u64 *)&line->head;
		if (*(volatile __u64 *)&line->tail - head - 1 >= LINE_PLACES)
			return 0;
		place = ((volatile __u64 *)line->places)[head % LINE_PLACES];
		if (place >> 32 != (__u32)head) /* it is just being written */
			return 0;
		if ((__u32)place != GONE)
			break;
		__sync_val_compare_and_swap(&line->head, head, head + 1);
	}
	rested->entry = place;
	rested->record = bpf_map_lookup_elem(&sessions, &rested->entry);
	rested->line = line;
	rested->head = head;
	return rested->record && *(volatile __u32 *)&rested->record->held &&
	       rested->record->last_seen_ns + REST_NS <= bpf_ktime_get_ns();
}

/* The same for a pool, whose lines are tried from that on which the step says. */
static __noinline __u32 find_rested(__u32 pool, __u32 step, struct rested *rested)
{
	__u32 first = step >> STEP_BITS;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < LINES_OF_POOL; i++)
		if (is_rested(pool * LINES_OF_POOL + (first + i) % LINES_OF_POOL, rested))
			return 1;
	return 0;
}

/* Takes the endpoint that was found, or another one of its pool when somebody was faster; 0 when there is none any more. */
static __noinline __u32 is_taken(__u32 pool, __u32 step, struct rested *rested)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_TRIES; i++) {
		if (__sync_val_compare_and_swap(&rested->line->head, rested->head, rested->head + 1) == rested->head)
			return 1;
		if (!find_rested(pool, step, rested))
			return 0;
	}
	return 0;
}
