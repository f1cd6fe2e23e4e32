/* What moves with the packets of a session: the rules of `state.progress`. Words are 64 bits; numbers in them count modulo 2^32. */
#pragma once
#include "packet.h"

#define SENT_REACH (1u << 30)
#define OLD_ACK_REACH (1u << 16)
#define MOST_IN_FLIGHT (1u << 20)
#define HALF 0x80000000u

/* One side's words of a record, in their order. */
struct side {
	__u64 acked;
	__u64 next_seq;
	__u64 window;
	__u64 packets;
	__u64 bytes;
};

_Static_assert(__builtin_offsetof(struct session_record, rs_acked) - __builtin_offsetof(struct session_record, client_acked) ==
		       sizeof(struct side), "each side has the same words");

static __always_inline struct side *side_of(struct session_record *record, __u32 direction)
{
	return (struct side *)(direction ? &record->rs_acked : &record->client_acked);
}

static __always_inline __u32 is_before(__u32 left, __u32 right)
{
	return left - right >= HALF;
}

/* Whether an acknowledgement is for something between the sender's last one and all that the other side has sent. */
static __always_inline int is_new_ack(struct side *sender, __u32 sent, __u32 ack)
{
	return ack - (__u32)sender->acked <= sent - (__u32)sender->acked;
}

/* The same, but it may also be somewhat older: of a packet that was overtaken. */
static __always_inline int is_acceptable_ack(struct side *sender, __u32 sent, __u32 ack)
{
	__u32 oldest = (__u32)sender->acked - OLD_ACK_REACH;

	return ack - oldest <= sent - oldest;
}

/* Notes what a packet with an acceptable acknowledgement says. `consumes`: the numbers it takes beside those of its data. */
static __always_inline void note_progress(struct side *sender, struct packet *packet, __u32 consumes)
{
	__u64 end = (__u64)packet->seq + packet->payload + consumes;

	sender->acked = packet->ack;
	sender->window = packet->window;
	if ((__u32)end - (__u32)sender->next_seq < SENT_REACH)
		sender->next_seq = end;
}

static __always_inline void count_packet(struct side *sender, __u32 packets, __u32 bytes)
{
	__sync_fetch_and_add(&sender->packets, packets);
	__sync_fetch_and_add(&sender->bytes, bytes);
}
