/* Internet checksums (RFC 1071, RFC 1624). Sums are of 16-bit words in network order, as numbers, and folded when used. */
#pragma once
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

/* What one call of bpf_csum_diff takes on every kernel, in bytes. */
#define SUMMED_AT_ONCE 512

static __always_inline __u32 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Whether the checksum of an IP header without options is right. The order of bytes does not matter: all ones look the same. */
static __always_inline int is_header_sound(const struct iphdr *ip)
{
	const __u32 *words = (const void *)ip;
	__u64 sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return folded(sum) == 0xffff;
}

/* The sum of the two words of a number in host order. */
static __always_inline __u32 words_of(__u32 number)
{
	return (number >> 16) + (number & 0xffff);
}

/* What is added to a sum of words when a number becomes another one. */
static __always_inline __u32 change_of(__u32 was, __u32 is)
{
	return words_of(~was) + words_of(is);
}

static __always_inline __u32 change_of_word(__u32 was, __u32 is)
{
	return (~was & 0xffff) + is;
}

/*
 * Moves the checksum of a TCP or UDP header at `place` by what was added to the words of the pseudo header and to those behind it.
 * The kernel knows whether there is a whole checksum or only that of the pseudo header, which the hardware finishes.
 */
static __always_inline void move_checksum(struct __sk_buff *skb, __u32 place, __u32 pseudo, __u32 rest, __u64 flags)
{
	bpf_l4_csum_replace(skb, place, 0, bpf_htons(folded(pseudo)), BPF_F_PSEUDO_HDR | flags);
	bpf_l4_csum_replace(skb, place, 0, bpf_htons(folded(rest)), flags);
}

/* Copies `bytes` of the packet (1 to SCRATCH_BYTES) to the scratch area; null when that is not possible. */
static __always_inline struct scratch *copied(struct __sk_buff *skb, __u32 start, __u32 bytes)
{
	__u32 zero = 0, last = bytes - 1;
	struct scratch *copy = bpf_map_lookup_elem(&scratch, &zero);

	/* Linux 6.1 does not conclude from `bytes != 0` that a size is at least one, but it does from a sum. */
	asm volatile("" : "+r"(last));
	if (!copy || last >= SCRATCH_BYTES)
		return 0;
	asm volatile("" : "+r"(last));
	return bpf_skb_load_bytes(skb, start, copy->bytes, last + 1) ? 0 : copy;
}

/*
 * What the words of `bytes` in the scratch area behind `start` add up to; they are no more than `most`, which is known when it is
 * compiled. Whole words of four bytes are summed: what is behind the last byte is made zero.
 */
static __always_inline __u32 sum_in_scratch(struct scratch *copy, __u32 start, __u32 bytes, __u32 most)
{
	__s64 sum = 0;

	for (int i = 0; i < 4; i++)
		copy->bytes[(start + bytes + i) & (SCRATCH_BYTES - 1)] = 0;
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < most; at += SUMMED_AT_ONCE) {
		__u32 left = (bytes + 3 - at) & ~3u;

		if (at >= bytes)
			break;
		if (left > SUMMED_AT_ONCE)
			left = SUMMED_AT_ONCE;
		sum = bpf_csum_diff(0, 0, (void *)(copy->bytes + start + at), left, sum);
	}
	return bpf_ntohs(folded(sum));
}

/*
 * Whether the checksum of a segment of `bytes` at `start` is right. `pseudo` is the sum of its pseudo header, `field` its checksum.
 * One that is only that of the pseudo header belongs to a packet of this machine, or of a guest of it, and cannot be wrong.
 */
static __noinline int is_sound(struct __sk_buff *skb, __u32 start, __u32 bytes, __u32 pseudo, __u32 field)
{
	struct scratch *copy;

	pseudo = folded(pseudo);
	if (field == pseudo)
		return 1;
	if (bytes > SCRATCH_BYTES - 4)
		return 0;
	copy = copied(skb, start, bytes);
	if (!copy)
		return 0;
	return folded(sum_in_scratch(copy, 0, bytes, SCRATCH_BYTES) + pseudo) == 0xffff;
}
