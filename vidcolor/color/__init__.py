"""Pure tensor functions on colors: conversion, codes, gamut, composition, resizing, adjustment."""
