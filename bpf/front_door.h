/*
 * The front door: SYNs for services that answer with cookies, answered where they come in, as `proxy.handshake` would. Nothing is
 * remembered of them. Whoever returns the cookie is judged by Python. A door may have a latch for each shard, which the shard opens
 * while it would answer with cookies itself, and at which the cookies are counted.
 */
#pragma once
#include "proxied.h"
#include "rewrite.h"
#include "steering.h"

#define OPENING_FLAGS (FIN | SYN | RST | ACK)

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define OPTION_SACK_PERMITTED 4

#define DONT_FRAGMENT 0x4000
#define MOST_WINDOW 0xffffu
#define LEAST_NO_HOST 224 /* first byte of the lowest address above those of hosts */
#define LOOPBACK_NETWORK 127

#define SEEN_END (1ull << 63) /* there are no more options */
#define SEEN_MSS (1ull << 62)
#define SEEN_SCALE (1ull << 61)
#define SEEN_SACK (1ull << 60)
#define SEEN_MSS_SHIFT 16
#define SEEN_SCALE_SHIFT 32

/*
 * Looks at one option of a SYN, whose options are in the scratch area. `seen` is what was found so far: its lowest byte the place
 * of the next option, in bytes from the first, the byte behind where they end; then the MSS, the shift, and the bits above. The
 * verifier looks at a global function once, whatever it is called with, and so it need not follow all orders of options. It takes
 * numbers alone: a pointer to the packet would need a kernel that describes its own types.
 */
__noinline __u64 look_at_option(__u64 seen)
{
	__u32 at = seen & 0xff, end = seen >> 8 & 0xff, zero = 0, kind, length;
	struct scratch *copy = bpf_map_lookup_elem(&scratch, &zero);

	if (!copy || at >= end || at >= MOST_OPTIONS)
		return seen | SEEN_END;
	kind = copy->bytes[at];
	if (kind == OPTION_NOP)
		return seen + 1;
	length = copy->bytes[at + 1];
	if (kind == OPTION_END || at + 1 >= end || length < 2 || at + length > end)
		return seen | SEEN_END;
	if (kind == OPTION_MSS && length == 4) {
		seen = (seen & ~(0xffffull << SEEN_MSS_SHIFT)) | SEEN_MSS;
		seen |= (__u64)(copy->bytes[at + 2] << 8 | copy->bytes[at + 3]) << SEEN_MSS_SHIFT;
	} else if (kind == OPTION_SCALE && length == 3) {
		seen = (seen & ~(0xffull << SEEN_SCALE_SHIFT)) | SEEN_SCALE;
		seen |= (__u64)copy->bytes[at + 2] << SEEN_SCALE_SHIFT;
	} else if (kind == OPTION_SACK_PERMITTED && length == 2) {
		seen |= SEEN_SACK;
	}
	return seen + length;
}

/* What to remember of a SYN's options under the terms of its service: `read_offer` of `proxy.handshake`. */
static __always_inline void read_offer(struct __sk_buff *skb, const struct packet *packet, const struct front_door *door,
				       struct offer *offer)
{
	__u64 seen = (__u64)packet->options << 8;

	if (packet->options && !copied(skb, OPTIONS_START, packet->options))
		seen |= SEEN_END;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i <= MOST_OPTIONS; i++) {
		if (seen & SEEN_END)
			break;
		seen = look_at_option(seen);
	}
	offer->mss = COOKIE_DEFAULT_MSS;
	offer->scale = COOKIE_NO_SCALE;
	offer->sack = seen & SEEN_SACK && door->sack;
	offer->names_mss = !!(seen & SEEN_MSS);
	if (seen & SEEN_MSS) {
		__u32 mss = seen >> SEEN_MSS_SHIFT & 0xffff;

		if (mss)
			offer->mss = mss;
		if (door->most_mss && offer->mss > door->most_mss)
			offer->mss = door->most_mss;
	}
	if (seen & SEEN_SCALE && door->scale) {
		offer->scale = seen >> SEEN_SCALE_SHIFT & 0xff;
		if (offer->scale > COOKIE_MOST_SCALE)
			offer->scale = COOKIE_MOST_SCALE;
	}
}

/* The answer, without its checksums. */
struct answer {
	struct iphdr ip;
	struct tcphdr tcp;
	__be32 options[3];
};

/* The words of a header of `count` words of 32 bits, added up. */
static __always_inline __u32 sum_of(const void *start, __u32 count)
{
	const __be32 *words = start;
	__u32 sum = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++)
		sum += words_of(bpf_ntohl(words[i]));
	return sum;
}

/* Fills in the options; returns how many bytes they have. */
static __always_inline __u32 answer_options(struct answer *answer, const struct front_door *door, const struct offer *offer)
{
	__be32 scale = bpf_htonl(SCALE_OPTION | COOKIE_ADVERTISED_SCALE);
	__u32 has_scale = offer->scale != COOKIE_NO_SCALE, bytes = 0;

	if (offer->names_mss) {
		answer->options[0] = bpf_htonl(MSS_HEAD << 16 | door->mss);
		bytes = 4;
	}
	if (offer->sack) {
		if (bytes)
			answer->options[1] = bpf_htonl(SACK_OPTION);
		else
			answer->options[0] = bpf_htonl(SACK_OPTION);
		bytes += 4;
	}
	if (has_scale) {
		if (bytes == 8)
			answer->options[2] = scale;
		else if (bytes == 4)
			answer->options[1] = scale;
		else
			answer->options[0] = scale;
		bytes += 4;
	}
	return bytes;
}

static __always_inline __u32 answer_window(const struct front_door *door, const struct offer *offer)
{
	__u32 mss = offer->mss < door->mss ? offer->mss : door->mss, window = door->held_packets * mss;

	return window > MOST_WINDOW ? MOST_WINDOW : window;
}

/* Fills in both headers; returns how many bytes the answer has. The checksum of TCP stays that of the SYN. */
static __always_inline __u32 fill_answer(struct answer *answer, const struct packet *packet, const struct front_door *door,
					 const struct offer *offer, __u32 cookie)
{
	__u32 tcp_bytes = sizeof(answer->tcp) + answer_options(answer, door, offer), total = sizeof(answer->ip) + tcp_bytes;

	*(__u8 *)&answer->ip = IPV4_NO_OPTIONS;
	answer->ip.tot_len = bpf_htons(total);
	answer->ip.frag_off = bpf_htons(DONT_FRAGMENT);
	answer->ip.ttl = door->ttl;
	answer->ip.protocol = IPPROTO_TCP;
	answer->ip.saddr = packet->destination;
	answer->ip.daddr = packet->source;
	answer->ip.check = bpf_htons(~folded(sum_of(&answer->ip, sizeof(answer->ip) / 4)));
	answer->tcp.source = packet->destination_port;
	answer->tcp.dest = packet->source_port;
	answer->tcp.seq = bpf_htonl(cookie);
	answer->tcp.ack_seq = bpf_htonl(packet->seq + 1);
	((__be16 *)&answer->tcp)[6] = bpf_htons(tcp_bytes / 4 << DATA_OFFSET_SHIFT | SYN | ACK);
	answer->tcp.window = bpf_htons(answer_window(door, offer));
	return total;
}

/*
 * Writes the answer over a SYN that has got its size. The SYN may carry the checksum of its pseudo header alone, which the
 * hardware finishes, and nobody says whether it does. So the kernel moves it, from what it was to what it has to be: addresses
 * only change places, and the sum of a sound segment, its own checksum included, is the complement of that of the pseudo header.
 */
static __always_inline int overwrite(struct __sk_buff *skb, const struct packet *packet, struct answer *answer, __u32 total)
{
	__u32 was_bytes = packet->total - sizeof(struct iphdr), bytes = total - sizeof(struct iphdr);
	__u32 addresses = words_of(bpf_ntohl(packet->source)) + words_of(bpf_ntohl(packet->destination));
	__u32 sum = sum_of(&answer->tcp, (sizeof(answer->tcp) + sizeof(answer->options)) / 4);

	answer->tcp.check = bpf_htons(packet->checksum);
	if (bpf_skb_store_bytes(skb, IP_START, answer, OPTIONS_START - IP_START, 0))
		return -1;
	/* Behind the last option there is nothing to write to. */
	if (bytes > 20 && bpf_skb_store_bytes(skb, OPTIONS_START, &answer->options[0], 4, 0))
		return -1;
	if (bytes > 24 && bpf_skb_store_bytes(skb, OPTIONS_START + 4, &answer->options[1], 4, 0))
		return -1;
	if (bytes > 28 && bpf_skb_store_bytes(skb, OPTIONS_START + 8, &answer->options[2], 4, 0))
		return -1;
	sum += packet->checksum + addresses + IPPROTO_TCP + was_bytes;
	move_checksum(skb, TCP_CHECKSUM, change_of_word(was_bytes, bytes), sum, 0);
	return 0;
}

/* Makes the answer of a SYN. Returns 0, or the counter of why the SYN goes up; -1 when it is of no use any more. */
static __noinline int answer_syn(struct __sk_buff *skb, const struct packet *packet, const struct front_door *door,
				   const struct offer *offer, __u32 cookie)
{
	struct answer answer = {};
	__u32 total = fill_answer(&answer, packet, door, offer, cookie);

	if (skb->len != IP_START + total && bpf_skb_change_tail(skb, IP_START + total, 0))
		return COUNT_UP_ROOM;
	return overwrite(skb, packet, &answer, total) ? -1 : 0;
}

/* Whether no host can have this address, in network order: 0/8, 127/8, 224/3. */
static __always_inline int is_no_host(__u32 address)
{
	__u32 first = address & 0xff;

	return !first || first == LOOPBACK_NETWORK || first >= LEAST_NO_HOST;
}

/*
 * The way back to the sender of a packet, with `to` for an answer of `largest` bytes at most: it has to be on the side of the clients,
 * as the way on which it came. Returns 0, or the counter of why it goes up.
 */
static __always_inline __u32 find_client(struct __sk_buff *skb, struct packet *packet, struct rewrite *to, struct way_out *way)
{
	__u32 interface = skb->ifindex, reason;
	__u8 *sides = bpf_map_lookup_elem(&interfaces, &interface);

	if (!sides || !(*sides & SIDE_CLIENTS) || is_no_host(packet->source) || packet->source == packet->destination)
		return COUNT_UP_SIDE;
	packet->tos = 0; /* as in the answer */
	packet->largest = OPTIONS_START - IP_START + sizeof(((struct answer *)0)->options);
	reason = find_way(skb, packet, to, 0, way);
	if (reason)
		return reason;
	sides = bpf_map_lookup_elem(&interfaces, &way->interface);
	return sides && *sides & SIDE_CLIENTS ? 0 : COUNT_UP_SIDE;
}

/*
 * Whether a SYN is one that Python would answer: it comes from the side of the clients, its source is one that a packet may go
 * back to there, and it is whole. Returns 0, or the counter of why it goes up.
 */
static __noinline __u32 judge_syn(struct __sk_buff *skb, struct packet *packet, struct way_out *way)
{
	struct rewrite to = {
		.source = packet->destination,
		.destination = packet->source,
		.source_port = packet->destination_port,
		.destination_port = packet->source_port,
	};
	__u32 reason = find_client(skb, packet, &to, way);

	if (reason)
		return reason;
	if (skb->gso_size)
		return COUNT_UP_SEGMENTS;
	return is_tcp_sound(skb, packet) ? 0 : COUNT_UP_CHECKSUM;
}

/* The service of a packet, whose header was read, in the maps that are by service. */
static __always_inline struct front_door_key service_of(const struct packet *packet)
{
	struct front_door_key key = {.family = 4, .port = packet->destination_port};

	*(__u32 *)key.address = packet->destination;
	return key;
}

/* Whether it is a SYN, as a client sends it to open a connection; reads the header of TCP. */
static __always_inline int is_syn(struct __sk_buff *skb, struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && !read_tcp(skb, packet) && (packet->flags & OPENING_FLAGS) == SYN;
}

/* The service that a SYN opens a connection to, when its SYNs are answered here; null for all other packets. */
static __always_inline struct front_door *door_of(struct __sk_buff *skb, struct packet *packet)
{
	struct front_door_key key;

	if (!is_syn(skb, packet))
		return 0;
	key = service_of(packet);
	return bpf_map_lookup_elem(&front_doors, &key);
}

/* Whether a shard has sessions that might be in the lane and are not. */
static __always_inline int are_some_outside(void)
{
	__u32 zero = 0;
	struct outside *shards = bpf_map_lookup_elem(&outside, &zero);
	__u64 any = 0;

	if (!shards)
		return 1;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < OUTSIDE_SHARDS / 8; i++)
		any |= ((volatile __u64 *)shards)[i];
	return any != 0;
}

/* Of the latches from this one on, which is that of shard 0: the one of the shard that gets the packets of this client. */
static __always_inline struct latch *latch_of(const struct packet *packet, __u32 first)
{
	__u32 number = first + shard_of_client(packet);

	return bpf_map_lookup_elem(&latches, &number);
}

/*
 * The latch of a front door, of the shard that gets the packets of this client; null when it is closed. It is closed as well while
 * a shard has sessions that are not in the lane: the SYN may be of one of them, which is half-open.
 */
static __always_inline struct latch *open_latch_of(const struct packet *packet, const struct front_door *door)
{
	struct latch *latch = latch_of(packet, door->first_latch);

	return latch && *(volatile __u32 *)&latch->is_open && !are_some_outside() ? latch : 0;
}

/* Whether SYNs of this client to its service are answered with cookies now, here or by its shard; for a SYN. */
static __noinline int gets_cookie(struct __sk_buff *skb, struct packet *packet)
{
	struct front_door *door = door_of(skb, packet);
	struct latch *latch;

	if (!door || door->first_latch == NO_LATCH)
		return door != 0;
	latch = latch_of(packet, door->first_latch);
	return latch && *(volatile __u32 *)&latch->is_open;
}

/* In the place of a verdict: no SYN to a service whose SYNs are answered here; and a segment that opens nothing at all. */
#define NO_DOOR 0x101
#define OPENS_NOTHING 0x102

/* A function of its own, for its stack: the packet is read anew. It has no session in the lane. */
static __noinline int open_front_door(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct way_out way = {};
	struct offer offer = {};
	struct front_door *door = 0;
	struct latch *latch = 0;
	struct cookie_key *key;
	__u64 slot = bpf_ktime_get_ns() / (NS_PER_S * COOKIE_SLOT_S);
	__u32 cookie;
	int error;

	if (!read_ip(skb, &packet))
		door = door_of(skb, &packet);
	if (!door) /* a packet whose header was read is TCP */
		return packet.header && (packet.flags & OPENING_FLAGS) != SYN ? OPENS_NOTHING : NO_DOOR;
	if (door->first_latch != NO_LATCH) {
		latch = open_latch_of(&packet, door);
		if (!latch)
			return NO_DOOR;
	}
	error = judge_syn(skb, &packet, &way);
	if (error)
		return up(error);
	key = cookie_key(slot);
	if (!key)
		return up(COUNT_UP_KEY);
	if (latch) /* before the client can have it */
		*(volatile __u64 *)&latch->last_cookie_ns = bpf_ktime_get_ns();
	read_offer(skb, &packet, door, &offer);
	cookie = make_cookie(&packet, &offer, key, slot);
	error = answer_syn(skb, &packet, door, &offer, cookie);
	if (error)
		return error < 0 ? TC_ACT_SHOT : up(error);
	count(COUNT_COOKIE_SENT);
	if (latch)
		__sync_fetch_and_add(&latch->cookies, 1);
	return send(&way);
}
