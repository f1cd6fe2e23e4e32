/*
 * Where a client goes whose address says so: by a hash of it, as `policy.schedulers.hashing` makes it, or because persistence
 * remembers the client, as `ipc.persistence_table` describes it. `ipc.admission_layout` has both under RING_FIELDS.
 *
 * The verifier takes functions that are not static by themselves, and not once more for each way that leads there.
 */
#pragma once
#include "blake2s.h"
#include "packet.h"

#define NS_PER_MS 1000000ull

#define NO_CHOICE (~0ull)
#define CHOICE_BITS 32 /* of a choice, the place in the schedule; above it the place where the client is remembered, counted from 1 */

/* The first eight bytes of the hash of a short message that ends so many bytes, as a number in network order. */
static __always_inline __u64 hash_of_words(const struct ring *ring, __u32 first, __u32 second, __u32 bytes)
{
	struct hashed_message message = {{first, second}};
	struct hash_digest digest = {};

	finish_hash((const void *)ring->hash_state, bytes, &message, &digest);
	return (__u64)bpf_ntohl(digest.words[0]) << 32 | bpf_ntohl(digest.words[1]);
}

/* The key of a client where it is remembered. */
static __always_inline __u64 client_number(const struct ring *ring, __be32 source)
{
	return (__u64)ring->client_service << 32 | (bpf_ntohl(source) & ring->client_mask);
}

/* The place in the schedule for a client that is remembered, and where that is. */
static __always_inline __u64 choice_by_persistence(const struct ring *ring, __be32 source, __u32 length)
{
	__u64 client = client_number(ring, source), now_ms = bpf_ktime_get_ns() / NS_PER_MS, found = NO_CHOICE;
	struct remembered_bucket *bucket;
	struct remembered *there;
	__u32 number, place;

	number = hash_of_words(ring, bpf_htonl(client >> 32), bpf_htonl(client), BLAKE2S_BLOCK_BYTES + sizeof(client)) %
		 REMEMBERED_BUCKETS;
	bucket = bpf_map_lookup_elem(&remembered, &number);
	if (!bucket)
		return NO_CHOICE;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < REMEMBERED_OF_BUCKET; i++) {
		there = &bucket->clients[i];
		place = *(volatile __u64 *)&there->slot_and_one - 1 - ring->first_slot;
		if (there->client == client && *(volatile __u64 *)&there->until_ms > now_ms && place < length)
			found = (__u64)(number * REMEMBERED_OF_BUCKET + i + 1) << CHOICE_BITS | place;
	}
	return found;
}

/* The place in the schedule for the hash of a client, from the table of the ring. */
static __always_inline __u64 choice_by_lookup(const struct ring *ring, __u64 hash, __u32 length)
{
	__u32 number = ring->lookup;
	__u64 at = hash % (ring->lookup_length ?: 1), place;
	struct lookup_table *table = bpf_map_lookup_elem(&lookup_tables, &number);

	asm volatile("" : "+r"(at)); /* or the verifier does not know in the end that it was compared */
	if (!table || at >= LOOKUP_PLACES)
		return NO_CHOICE;
	place = ((volatile __u16 *)table->places)[at];
	return place < length ? place : NO_CHOICE;
}

/* What the address of a client says in a ring; NO_CHOICE when its packet goes up, and 0 where it is somebody's turn. */
__noinline __u64 choice_of_client(__u32 ring_number, __be32 source)
{
	struct ring *ring = bpf_map_lookup_elem(&rings, &ring_number);
	__u32 length = ring ? *(volatile __u32 *)&ring->schedule_length : 0;
	__u64 choice;

	if (!ring || !length || !ring->by_client)
		return 0;
	if (ring->by_client == BY_ADDRESS)
		return hash_of_words(ring, source, 0, sizeof(source)) % length;
	if (ring->by_client == BY_LOOKUP)
		return choice_by_lookup(ring, hash_of_words(ring, source, 0, sizeof(source)), length);
	choice = choice_by_persistence(ring, source, length);
	if (choice != NO_CHOICE && ((volatile __u16 *)ring->schedule)[(__u32)choice % SCHEDULE_PLACES] == NO_POOL)
		return NO_CHOICE;
	return choice;
}

/* A client has got one more session by this choice: it is remembered for longer, unless another one has got its place meanwhile. */
__noinline int remember_longer(__u32 ring_number, __be32 source, __u64 choice)
{
	struct ring *ring = bpf_map_lookup_elem(&rings, &ring_number);
	__u32 place = (choice >> CHOICE_BITS) - 1, number = place / REMEMBERED_OF_BUCKET;
	struct remembered_bucket *bucket = bpf_map_lookup_elem(&remembered, &number);
	struct remembered *there;
	__u64 until_ms;

	if (!ring || !bucket || !(choice >> CHOICE_BITS))
		return 0;
	there = &bucket->clients[place % REMEMBERED_OF_BUCKET];
	until_ms = *(volatile __u64 *)&there->until_ms;
	if (there->client == client_number(ring, source))
		__sync_val_compare_and_swap(&there->until_ms, until_ms, bpf_ktime_get_ns() / NS_PER_MS + ring->client_lasts_ms);
	return 0;
}
