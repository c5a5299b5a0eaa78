"""Colors as pure tensor functions: conversion, codes, gamut, composition, resizing, adjustment."""
